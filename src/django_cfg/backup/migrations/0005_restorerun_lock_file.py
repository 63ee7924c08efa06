from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_cfg_backup", "0004_verification"),
    ]

    operations = [
        migrations.AddField(
            model_name="restorerun",
            name="lock_file",
            field=models.CharField(
                blank=True, default="", help_text="identity of the file its process has locked", max_length=100
            ),
            preserve_default=False,
        ),
    ]
