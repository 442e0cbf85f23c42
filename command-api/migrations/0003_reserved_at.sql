-- A sign-up that is repeated begins anew to hold its handle and address; when the account was made
-- says nothing of that.
ALTER TABLE identity.accounts ADD COLUMN reserved_at timestamptz;

UPDATE identity.accounts SET reserved_at = created_at;

ALTER TABLE identity.accounts ALTER COLUMN reserved_at SET NOT NULL;
