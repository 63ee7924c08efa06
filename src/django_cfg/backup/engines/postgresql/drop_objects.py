"""SQL that empties a database for a restore in place: it drops every object but those of extensions.

It runs in the transaction of the restore. Schemas are dropped with all they hold; ``public``, and schemas that hold
parts of an extension, are emptied object by object, since the owner of a database may not be allowed to create them.
"""

from __future__ import annotations

from django_cfg.backup.engines.postgresql.schema import EXTENSION_SCHEMAS

# The objects besides tables that DROP_OBJECTS drops: the number of each kind.
COUNT_OBJECTS = """
WITH found (class, oid, schema, kind) AS (
    SELECT 'pg_class'::regclass, oid, relnamespace, CASE relkind
        WHEN 'v' THEN 'views' WHEN 'm' THEN 'materialized views' WHEN 'S' THEN 'sequences'
        WHEN 'f' THEN 'foreign tables' ELSE 'partitioned tables' END
        FROM pg_class WHERE relkind IN ('v', 'm', 'S', 'f', 'p')
    UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace, 'functions' FROM pg_proc
    UNION ALL SELECT 'pg_type'::regclass, oid, typnamespace, 'types' FROM pg_type t WHERE typtype IN ('d', 'e', 'r')
        OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c')
    UNION ALL SELECT 'pg_operator'::regclass, oid, oprnamespace, 'operators' FROM pg_operator
    UNION ALL SELECT 'pg_collation'::regclass, oid, collnamespace, 'collations' FROM pg_collation
    UNION ALL SELECT 'pg_conversion'::regclass, oid, connamespace, 'conversions' FROM pg_conversion
    UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgnamespace, 'text search configurations' FROM pg_ts_config
    UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictnamespace, 'text search dictionaries' FROM pg_ts_dict
    UNION ALL SELECT 'pg_ts_parser'::regclass, oid, prsnamespace, 'text search parsers' FROM pg_ts_parser
    UNION ALL SELECT 'pg_ts_template'::regclass, oid, tmplnamespace, 'text search templates' FROM pg_ts_template
    UNION ALL SELECT 'pg_am'::regclass, oid, NULL, 'access methods' FROM pg_am WHERE oid >= 16384
    UNION ALL SELECT 'pg_transform'::regclass, oid, NULL, 'transforms' FROM pg_transform WHERE oid >= 16384
    UNION ALL SELECT 'pg_foreign_server'::regclass, oid, NULL, 'foreign servers' FROM pg_foreign_server
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, NULL, 'foreign data wrappers'
        FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_publication'::regclass, oid, NULL, 'publications' FROM pg_publication
    UNION ALL SELECT 'pg_event_trigger'::regclass, oid, NULL, 'event triggers' FROM pg_event_trigger
    UNION ALL SELECT 'pg_largeobject'::regclass, oid, NULL, 'large objects' FROM pg_largeobject_metadata)
SELECT count(*) || ' ' || kind FROM found LEFT JOIN pg_namespace n ON n.oid = schema
WHERE coalesce(n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%', true)
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = class AND d.objid = found.oid AND d.objsubid = 0
                  AND d.deptype IN ('e', 'i'))
GROUP BY kind ORDER BY kind
"""

# Default privileges, unless only another role may change them; and the differences of ``public`` from initdb's: a dump
# holds only how its own differ from these.
_RESET_PRIVILEGES = """
DO $clear$
DECLARE
    item record;
BEGIN
    FOR item IN
        SELECT d.defaclrole::regrole AS owner, d.defaclrole, d.defaclobjtype AS kind,
            'ALTER DEFAULT PRIVILEGES FOR ROLE ' || d.defaclrole::regrole
                || coalesce(' IN SCHEMA ' || quote_ident(n.nspname), '') AS prefix,
            CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS'
                WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END AS objects,
            n.oid IS NULL AS everywhere,
            array(SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
                  FROM aclexplode(d.defaclacl)) AS grantees
        FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
        WHERE pg_has_role(d.defaclrole,
            CASE WHEN current_setting('server_version_num') >= '160000' THEN 'USAGE' ELSE 'MEMBER' END)
    LOOP
        IF item.grantees <> '{}' THEN
            EXECUTE format('%s REVOKE ALL ON %s FROM %s', item.prefix, item.objects,
                array_to_string(item.grantees, ', '));
        END IF;
        IF item.everywhere THEN
            EXECUTE format('%s GRANT ALL ON %s TO %s', item.prefix, item.objects, item.owner);
            IF item.kind IN ('f', 'T') THEN
                EXECUTE format('%s GRANT %s ON %s TO PUBLIC', item.prefix,
                    CASE item.kind WHEN 'f' THEN 'EXECUTE' ELSE 'USAGE' END, item.objects);
            END IF;
        END IF;
    END LOOP;

    CREATE SCHEMA IF NOT EXISTS public;
    IF pg_has_role((SELECT nspowner FROM pg_namespace WHERE nspname = 'public'), 'USAGE') THEN
        FOR item IN SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee
            FROM pg_namespace n, aclexplode(n.nspacl)
            WHERE nspname = 'public' AND grantee <> n.nspowner
        LOOP EXECUTE format('REVOKE ALL ON SCHEMA public FROM %s', item.grantee); END LOOP;
        IF current_setting('server_version_num')::int >= 150000 THEN
            IF current_setting('is_superuser') = 'on' THEN
                ALTER SCHEMA public OWNER TO pg_database_owner;
            END IF;
            GRANT USAGE ON SCHEMA public TO PUBLIC;
        ELSE
            GRANT USAGE, CREATE ON SCHEMA public TO PUBLIC;
        END IF;
        COMMENT ON SCHEMA public IS 'standard public schema';
    END IF;
END $clear$;
"""

_DROP_OBJECTS = """
DO $clear$
DECLARE
    item record;
BEGIN
    FOR item IN SELECT evtname AS name FROM pg_event_trigger t WHERE NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_event_trigger'::regclass AND objid = t.oid AND deptype = 'e')
    LOOP EXECUTE format('DROP EVENT TRIGGER %I', item.name); END LOOP;

    FOR item IN
        SELECT 'PUBLICATION' AS kind, pubname AS name FROM pg_publication
        UNION ALL SELECT 'SERVER', srvname FROM pg_foreign_server s WHERE NOT EXISTS (
            SELECT FROM pg_depend WHERE classid = 'pg_foreign_server'::regclass AND objid = s.oid AND deptype = 'e')
        UNION ALL SELECT 'FOREIGN DATA WRAPPER', fdwname FROM pg_foreign_data_wrapper w WHERE NOT EXISTS (
            SELECT FROM pg_depend
            WHERE classid = 'pg_foreign_data_wrapper'::regclass AND objid = w.oid AND deptype = 'e')
    LOOP EXECUTE format('DROP %s IF EXISTS %I CASCADE', item.kind, item.name); END LOOP;

    FOR item IN SELECT castsource::regtype AS source, casttarget::regtype AS target FROM pg_cast c
        WHERE c.oid >= 16384 AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_cast'::regclass AND objid = c.oid AND deptype IN ('e', 'i'))
    LOOP EXECUTE format('DROP CAST IF EXISTS (%s AS %s) CASCADE', item.source, item.target); END LOOP;

    FOR item IN SELECT trftype::regtype AS type, lanname AS language FROM pg_transform t
        JOIN pg_language l ON l.oid = t.trflang
        WHERE t.oid >= 16384 AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_transform'::regclass AND objid = t.oid AND deptype = 'e')
    LOOP EXECUTE format('DROP TRANSFORM IF EXISTS FOR %s LANGUAGE %I CASCADE', item.type, item.language); END LOOP;

    CREATE TEMP TABLE clear_schema ON COMMIT DROP AS
        SELECT n.oid, n.nspname, n.nspname = 'public' OR n.oid IN (SELECT oid FROM (%EXTENSION_SCHEMAS%) e) AS stays
        FROM pg_namespace n
        WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%';

    FOR item IN SELECT nspname FROM clear_schema WHERE NOT stays
    LOOP EXECUTE format('DROP SCHEMA %I CASCADE', item.nspname); END LOOP;

    FOR item IN
        SELECT c.oid, c.oid::regclass AS name, CASE c.relkind
            WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
            WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS kind
        FROM pg_class c JOIN clear_schema s ON s.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT EXISTS (
            SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
            AND (d.deptype = 'e' OR (c.relkind = 'S' AND d.deptype IN ('a', 'i'))))
    LOOP
        -- an earlier CASCADE may have dropped it
        IF EXISTS (SELECT FROM pg_class WHERE oid = item.oid) THEN
            EXECUTE format('DROP %s %s CASCADE', item.kind, item.name);
        END IF;
    END LOOP;

    FOR item IN SELECT p.oid, p.oid::regprocedure AS name FROM pg_proc p JOIN clear_schema s ON s.oid = p.pronamespace
        WHERE NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype IN ('e', 'i'))
    LOOP
        IF EXISTS (SELECT FROM pg_proc WHERE oid = item.oid) THEN
            EXECUTE format('DROP ROUTINE %s CASCADE', item.name);
        END IF;
    END LOOP;

    FOR item IN SELECT t.oid, t.oid::regtype AS name FROM pg_type t JOIN clear_schema s ON s.oid = t.typnamespace
        WHERE t.typtype <> 'm' AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
        AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
        AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_type'::regclass AND objid = t.oid AND deptype = 'e')
    LOOP
        IF EXISTS (SELECT FROM pg_type WHERE oid = item.oid) THEN
            EXECUTE format('DROP TYPE %s CASCADE', item.name);
        END IF;
    END LOOP;

    FOR item IN
        SELECT 'COLLATION' AS kind, 'pg_collation'::regclass AS class, oid, collname AS name, collnamespace AS schema
            FROM pg_collation
        UNION ALL SELECT 'CONVERSION', 'pg_conversion'::regclass, oid, conname, connamespace FROM pg_conversion
        UNION ALL SELECT 'TEXT SEARCH CONFIGURATION', 'pg_ts_config'::regclass, oid, cfgname, cfgnamespace
            FROM pg_ts_config
        UNION ALL SELECT 'TEXT SEARCH DICTIONARY', 'pg_ts_dict'::regclass, oid, dictname, dictnamespace FROM pg_ts_dict
        UNION ALL SELECT 'TEXT SEARCH PARSER', 'pg_ts_parser'::regclass, oid, prsname, prsnamespace
            FROM pg_ts_parser WHERE current_setting('is_superuser') = 'on'
        UNION ALL SELECT 'TEXT SEARCH TEMPLATE', 'pg_ts_template'::regclass, oid, tmplname, tmplnamespace
            FROM pg_ts_template WHERE current_setting('is_superuser') = 'on'
    LOOP
        IF EXISTS (SELECT FROM clear_schema s WHERE s.oid = item.schema) AND NOT EXISTS (
            SELECT FROM pg_depend WHERE classid = item.class AND objid = item.oid AND deptype = 'e')
        THEN
            EXECUTE format('DROP %s IF EXISTS %I.%I CASCADE', item.kind,
                (SELECT nspname FROM clear_schema s WHERE s.oid = item.schema), item.name);
        END IF;
    END LOOP;

    FOR item IN SELECT o.oid, o.oid::regoperator AS name FROM pg_operator o
        JOIN clear_schema s ON s.oid = o.oprnamespace
        WHERE NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_operator'::regclass AND objid = o.oid AND deptype = 'e')
    LOOP
        IF EXISTS (SELECT FROM pg_operator WHERE oid = item.oid) THEN
            EXECUTE format('DROP OPERATOR %s CASCADE', item.name);
        END IF;
    END LOOP;

    FOR item IN SELECT f.opfname, s.nspname, a.amname FROM pg_opfamily f
        JOIN clear_schema s ON s.oid = f.opfnamespace JOIN pg_am a ON a.oid = f.opfmethod
        WHERE NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_opfamily'::regclass AND objid = f.oid AND deptype = 'e')
    LOOP
        EXECUTE format(
            'DROP OPERATOR FAMILY IF EXISTS %I.%I USING %I CASCADE', item.nspname, item.opfname, item.amname);
    END LOOP;

    FOR item IN SELECT amname AS name FROM pg_am a
        WHERE a.oid >= 16384 AND current_setting('is_superuser') = 'on' AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_am'::regclass AND objid = a.oid AND deptype = 'e')
    LOOP EXECUTE format('DROP ACCESS METHOD IF EXISTS %I CASCADE', item.name); END LOOP;

    PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;
    DROP TABLE clear_schema;

    -- the user's rows in tables of extensions; the dump has its own
    FOR item IN SELECT config.name, coalesce(config.condition, '') AS condition
        FROM pg_extension x, unnest(x.extconfig::regclass[], x.extcondition) AS config (name, condition)
        JOIN pg_class c ON c.oid = config.name AND c.relkind = 'r'
    LOOP EXECUTE format('DELETE FROM ONLY %s %s', item.name, item.condition); END LOOP;
END $clear$;
"""
DROP_OBJECTS = _DROP_OBJECTS.replace("%EXTENSION_SCHEMAS%", EXTENSION_SCHEMAS) + _RESET_PRIVILEGES
