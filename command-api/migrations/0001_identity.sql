-- What must never enter the log: addresses, password hashes and one-time tokens.
-- A system of record: it is backed up, and never rebuilt.
CREATE SCHEMA IF NOT EXISTS identity;

CREATE TABLE identity.accounts (
    user_id        uuid PRIMARY KEY,
    handle_folded  text NOT NULL UNIQUE,
    email          text NOT NULL,
    email_folded   text NOT NULL UNIQUE,
    password_hash  text NOT NULL,
    created_at     timestamptz NOT NULL,
    confirmed_at   timestamptz
);

CREATE TABLE identity.confirmations (
    token_sha256 bytea PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES identity.accounts ON DELETE CASCADE,
    expires_at   timestamptz NOT NULL
);

CREATE INDEX confirmations_by_user ON identity.confirmations (user_id);
