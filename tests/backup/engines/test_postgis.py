"""PostGIS: an extension with types, indexes, tables of its own that users add rows to, and functions in checks."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_cfg.backup import create_backup, drill_backup, restore_backup
from tests.support import needs
from tests.support.databases import fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer

# Debian's package is for Debian's server, the oldest one of this machine.
pytestmark = pytest.mark.parametrize("postgresql", ["oldest"], indirect=True, scope="session")

PLACES = (
    "CREATE EXTENSION postgis",
    "CREATE EXTENSION postgis_raster",
    "CREATE EXTENSION postgis_topology",
    "INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, srtext, proj4text) "
    "SELECT 990001, 'shop', 1, srtext, proj4text FROM spatial_ref_sys WHERE srid = 3857",
    "CREATE TABLE place (id serial PRIMARY KEY, name text, at geometry(Point, 4326) NOT NULL, "
    "area geometry(Polygon, 990001), far geography(Point, 4326), "
    "metres double precision GENERATED ALWAYS AS (ST_Area(area)) STORED, CHECK (ST_IsValid(area)))",
    "CREATE INDEX ON place USING gist (at)",
    "CREATE INDEX ON place USING gist (far)",
    "CREATE INDEX ON place USING spgist (area)",
    "INSERT INTO place (name, at, area, far) SELECT 'p' || i, ST_SetSRID(ST_MakePoint(i / 10.0, 50), 4326), "
    "ST_Buffer(ST_SetSRID(ST_MakePoint(i, i), 990001), 5), ST_MakePoint(i / 10.0, -50)::geography "
    "FROM generate_series(1, 500) i",
    "CREATE TABLE height (id int PRIMARY KEY, map raster)",
    "INSERT INTO height SELECT i, ST_AddBand(ST_MakeEmptyRaster(8, 8, 0, 0, 1, -1, 0, 0, 4326), '8BUI'::text, i, 0) "
    "FROM generate_series(1, 5) i",
    "SELECT AddRasterConstraints('height', 'map')",
    "CREATE MATERIALIZED VIEW near AS SELECT a.id, count(*) AS n FROM place a "
    "JOIN place b ON ST_DWithin(a.far, b.far, 50000) GROUP BY 1",
    "CREATE VIEW east AS SELECT id FROM place WHERE ST_X(at) > 20",
    "SELECT topology.CreateTopology('roads', 4326)",
)


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    server = postgresql_server
    if not (server.server.programs.parent / "lib" / "postgis-3.so").exists():
        needs.missing("PostGIS is not installed for this server (Debian: postgresql-15-postgis-3)")
    server.run(*PLACES)
    return server


def harm(server: PostgreSQLServer) -> None:
    server.run("DELETE FROM place WHERE id > 20", "DELETE FROM spatial_ref_sys WHERE srid = 990002", "DROP VIEW east")


@pytest.mark.parametrize("in_place", [False, True])
def test_a_restore(server: PostgreSQLServer, in_place: bool) -> None:
    before = server.text()
    create_backup()
    harm(server)
    restore_backup(in_place=in_place)
    fail_unless_equal(before, server.text())
    assert server.run("SELECT count(*) FROM place WHERE at && ST_MakeEnvelope(0, 0, 10, 90, 4326)") == [(100,)]


def test_a_database_that_is_lost(server: PostgreSQLServer) -> None:
    before = server.text()
    create_backup()
    server.site.close()
    server.server.sql(f"DROP DATABASE {server.databases['default']} WITH (FORCE)")
    restore_backup()
    fail_unless_equal(before, server.text())


def test_some_tables(server: PostgreSQLServer) -> None:
    before = server.run("SELECT id, name, ST_AsEWKB(at), ST_AsEWKB(area), metres FROM place ORDER BY id")
    create_backup()
    server.run("DELETE FROM place WHERE id > 20")
    restore_backup(tables=["place"])
    assert server.run("SELECT id, name, ST_AsEWKB(at), ST_AsEWKB(area), metres FROM place ORDER BY id") == before


def test_a_drill(server: PostgreSQLServer) -> None:
    server.site.configure(
        databases=[
            {"alias": "empty", "enabled": False},
            {"alias": "default", "verification_queries": ["SELECT bool_and(ST_IsValid(area)) FROM place"]},
        ]
    )
    create_backup()
    proof = drill_backup()
    assert proof.succeeded
    assert proof.queries == 1
    assert {table.name: table.found for table in proof.evidence}["public.place"] == 500


def test_the_backend_of_geodjango(server: PostgreSQLServer) -> None:
    """``django.contrib.gis.db.backends.postgis`` in settings.DATABASES."""
    try:
        import_module("django.contrib.gis.db.backends.postgis.base")
    except ImproperlyConfigured as error:
        needs.missing(f"GeoDjango needs the GDAL library (Debian: gdal-bin): {error}")
    server.use(ENGINE="django.contrib.gis.db.backends.postgis")
    before = server.text()
    create_backup()
    harm(server)
    restore_backup()
    fail_unless_equal(before, server.text())
    assert drill_backup().succeeded
