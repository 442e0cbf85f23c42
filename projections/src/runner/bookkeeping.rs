//! The runner's own tables, in the schema `projection`: checkpoints and parked events.

use sqlx::{Executor, PgPool};

/// Lets one process at a time make the runner's tables: `CREATE … IF NOT EXISTS` can collide.
/// (A model's own schemas are changed by whoever has a lease of it.)
const SCHEMA_LOCK: i64 = 0x7665_7a61_0001;

const TABLES: &str = r"
CREATE SCHEMA IF NOT EXISTS projection;
CREATE TABLE IF NOT EXISTS projection.checkpoints (
    name text NOT NULL,
    version integer NOT NULL,
    position bigint NOT NULL,
    pinned_position bigint,
    status text NOT NULL,
    reason text,
    failing_position bigint,
    updated_at timestamptz NOT NULL DEFAULT now(),
    built boolean NOT NULL DEFAULT true,
    mark_position bigint,
    mark_event uuid,
    PRIMARY KEY (name, version)
);
CREATE TABLE IF NOT EXISTS projection.parked (
    name text NOT NULL,
    version integer NOT NULL,
    shadow boolean NOT NULL,
    key text NOT NULL,
    position bigint NOT NULL,
    event_type text NOT NULL,
    reason text NOT NULL,
    retry_requested boolean NOT NULL DEFAULT false,
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, version, shadow, position)
);
DO $do$
BEGIN
    -- `IF NOT EXISTS` would wait for all who write, also where it has nothing to do.
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attname = 'built'
                   AND attrelid = 'projection.checkpoints'::regclass) THEN
        ALTER TABLE projection.checkpoints ADD COLUMN built boolean NOT NULL DEFAULT true;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attname = 'mark_event'
                   AND attrelid = 'projection.checkpoints'::regclass) THEN
        ALTER TABLE projection.checkpoints
            ADD COLUMN mark_position bigint, ADD COLUMN mark_event uuid;
    END IF;
    IF to_regclass('projection.parked_by_key') IS NULL THEN
        CREATE INDEX parked_by_key
            ON projection.parked (name, version, shadow, key, position);
    END IF;
END
$do$;
";

/// Folds text for search: lower case, no diacritics. With the extension `unaccent` letters such as
/// `ø` and `ß` are folded too; without it, what Unicode decomposes.
const FOLD: &str = r"
DO $do$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;
    IF EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'unaccent') THEN
        CREATE EXTENSION IF NOT EXISTS unaccent WITH SCHEMA public;
        CREATE OR REPLACE FUNCTION projection.fold(what text) RETURNS text
            LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $fold$
            SELECT lower(public.unaccent(regexp_replace(
                normalize(what, NFKD), '[\u0300-\u036f]', '', 'g')))
            $fold$;
    ELSE
        CREATE OR REPLACE FUNCTION projection.fold(what text) RETURNS text
            LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $fold$
            SELECT lower(regexp_replace(normalize(what, NFKD), '[\u0300-\u036f]', '', 'g'))
            $fold$;
    END IF;
END
$do$;
";

/// Makes the runner's tables where they are not there yet. Harmless to repeat.
///
/// One query, which PostgreSQL takes for one transaction: whoever gives up waiting for it, as a
/// loop that is stopped does, leaves none behind that is half ended.
pub async fn prepare(pool: &PgPool) -> Result<(), sqlx::Error> {
    let script = format!("SELECT pg_advisory_xact_lock({SCHEMA_LOCK});\n{TABLES}{FOLD}");
    pool.execute(script.as_str()).await?;
    Ok(())
}
