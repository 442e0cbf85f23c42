-- A token proves the address it was mailed to, whatever the account's address is by then; and a
-- mail that was sent is not sent again when the sign-up is repeated.
ALTER TABLE identity.confirmations
    ADD COLUMN email_folded text,
    ADD COLUMN mailed_at    timestamptz;

UPDATE identity.confirmations token
SET email_folded = account.email_folded, mailed_at = account.created_at
FROM identity.accounts account
WHERE account.user_id = token.user_id;

ALTER TABLE identity.confirmations ALTER COLUMN email_folded SET NOT NULL;
