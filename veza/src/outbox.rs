//! The outbox: mails as files in a folder, for a machine without a mail server.

use std::fs;
use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use chrono::Utc;
use command_api::identity::{ConfirmationToken, Email};
use command_api::{MailError, Mailer};
use url::Host;
use uuid::Uuid;

/// Writes each mail to `<folder>/email/<time>-<id>.eml`.
#[derive(Clone, Debug)]
pub struct Outbox {
    folder: PathBuf,
    public_url: String,
}

impl Outbox {
    /// Its folder in the data folder.
    pub const FOLDER: &'static str = "outbox";
    /// The folder of its mails, there too.
    pub const MAILS: &'static str = "outbox/email";

    /// An outbox in this folder; links in its mails lead to that address.
    pub fn new(folder: PathBuf, public_url: String) -> Self {
        Self { folder, public_url }
    }

    fn write(&self, to: &Email, subject: &str, text: &str) -> io::Result<()> {
        let folder = self.folder.join("email");
        fs::create_dir_all(&folder)?;
        let (now, id) = (Utc::now(), Uuid::new_v4());
        let mail = format!(
            "From: Veza <no-reply@localhost>\r\nTo: {}\r\nSubject: {subject}\r\nDate: {}\r\n\
             Message-ID: <{id}@veza>\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n",
            header_address(to.as_str()),
            now.to_rfc2822(),
        );
        // Whoever reads the folder never sees half a mail.
        let name = format!("{}-{id}.eml", now.format("%Y%m%dT%H%M%S%.6fZ"));
        let unfinished = folder.join(format!(".{name}"));
        fs::write(&unfinished, mail)?;
        fs::rename(unfinished, folder.join(name))
    }
}

/// An address as the header of a mail has it: the domain as DNS knows it, in letters that every
/// server takes. What is before the `@` stays as it is, in UTF-8 where it has to be (RFC 6532): no
/// encoding of headers may be used inside an address (RFC 2047, 5).
fn header_address(address: &str) -> String {
    let Some((local, domain)) = address.rsplit_once('@') else {
        return address.to_owned();
    };
    match Host::parse(domain) {
        Ok(Host::Domain(domain)) if !address.is_ascii() => format!("{local}@{domain}"),
        _ => address.to_owned(),
    }
}

#[async_trait]
impl Mailer for Outbox {
    async fn confirm_address(
        &self,
        to: &Email,
        token: &ConfirmationToken,
    ) -> Result<(), MailError> {
        let (outbox, to) = (self.clone(), to.clone());
        let (url, token) = (&self.public_url, token.to_text());
        let text = format!(
            "Welcome to Veza. To confirm this address, send its token within 24 hours:\r\n\r\n\
             curl {url}/api/v1/email-confirmations -H 'content-type: application/json' \
             -d '{{\"token\":\"{token}\"}}'\r\n\r\n\
             Then log in anew: who was logged in before is not known to have confirmed it.\r\n\
             If you did not sign up, let this mail be.\r\n\r\nToken: {token}",
        );
        let writing = move || outbox.write(&to, "Confirm your address", &text);
        let written = tokio::task::spawn_blocking(writing).await;
        written
            .map_err(io::Error::other)
            .and_then(|written| written)
            .map_err(|error| MailError { reason: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_written_as_dns_knows_it() {
        for (given, written) in [
            ("Nina@Example.org", "Nina@Example.org"),
            ("nina@b\u{fc}cher.example", "nina@xn--bcher-kva.example"),
            ("nina@B\u{dc}CHER.example", "nina@xn--bcher-kva.example"),
            ("ni\u{f1}a@example.org", "ni\u{f1}a@example.org"),
            ("ni\u{f1}a@b\u{fc}cher.example", "ni\u{f1}a@xn--bcher-kva.example"),
            ("nina@1.2.3.4", "nina@1.2.3.4"),
        ] {
            assert_eq!(header_address(given), written);
        }
    }

    #[test]
    fn a_mail_is_plain_but_for_what_has_no_other_form() {
        let home = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(home.path().to_owned(), "http://localhost".to_owned());
        let to = Email::new("nina@b\u{fc}cher.example").unwrap();
        outbox.write(&to, "Confirm your address", "Welcome").unwrap();
        let mails = fs::read_dir(home.path().join("email")).unwrap();
        let mails: Vec<_> = mails.map(|mail| fs::read_to_string(mail.unwrap().path())).collect();
        let [Ok(mail)] = mails.as_slice() else { panic!("one mail: {mails:?}") };
        assert!(mail.is_ascii(), "{mail}");
        assert!(mail.contains("\r\nTo: nina@xn--bcher-kva.example\r\n"), "{mail}");
    }
}
