//! The way to Meilisearch: HTTP, of which no answer is taken beyond a size.
//!
//! The SDK's own transport reads whatever is sent, and tells of answers that it can't read in lines
//! of the log that do not name the server.

use async_trait::async_trait;
use futures::io::{AsyncRead, AsyncReadExt as _};
use meilisearch_sdk::errors::{Error, MeilisearchCommunicationError, MeilisearchError};
use meilisearch_sdk::request::{HttpClient, Method};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The largest answer that is taken: a page of hits has some kilobytes, a failed task may repeat
/// the document that it failed at.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Asks the server.
#[derive(Clone)]
pub(super) struct Transport {
    client: Client,
}

/// What came back is no answer of Meilisearch.
#[derive(Debug, Error)]
enum TransportError {
    #[error("{0}")]
    Request(#[from] reqwest::Error),
    #[error("{url} sends more than {ANSWER_BYTES_MAX} bytes: is it Meilisearch?")]
    TooLarge { url: String },
    #[error("{url} answers what Meilisearch does not: {because}")]
    Unreadable { url: String, because: serde_json::Error },
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        Self::Other(error.into())
    }
}

impl Transport {
    /// With this key, if there is one. An error means that it can be none.
    pub(super) fn new(key: Option<&str>) -> Result<Self, Error> {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let bearer = HeaderValue::from_str(&format!("Bearer {key}"));
            let mut bearer = bearer.map_err(|_| Error::InvalidRequest)?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let client = Client::builder()
            .user_agent(concat!("veza/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .build();
        Ok(Self { client: client.map_err(TransportError::Request)? })
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn stream_request<Q, B, O>(
        &self,
        url: &str,
        method: Method<Q, B>,
        content_type: &str,
        expected_status_code: u16,
    ) -> Result<O, Error>
    where
        Q: Serialize + Send + Sync,
        B: AsyncRead + Send + Sync + 'static,
        O: DeserializeOwned + 'static,
    {
        let verb = match &method {
            Method::Get { .. } => reqwest::Method::GET,
            Method::Post { .. } => reqwest::Method::POST,
            Method::Patch { .. } => reqwest::Method::PATCH,
            Method::Put { .. } => reqwest::Method::PUT,
            Method::Delete { .. } => reqwest::Method::DELETE,
        };
        let mut request = self.client.request(verb, url).query(method.query());
        if let Some(body) = method.into_body() {
            let (mut body, mut bytes) = (Box::pin(body), Vec::new());
            body.read_to_end(&mut bytes).await.map_err(|error| Error::Other(error.into()))?;
            request = request.header(CONTENT_TYPE, content_type).body(bytes);
        }
        let response = request.send().await.map_err(TransportError::Request)?;
        let status = response.status().as_u16();
        let body = body(response, url).await?;
        read(status, expected_status_code, &body, url)
    }

    fn is_tokio(&self) -> bool {
        true
    }
}

/// All of the answer's body, within its limit.
async fn body(mut response: Response, url: &str) -> Result<Vec<u8>, TransportError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(TransportError::TooLarge { url: url.to_owned() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What an answer says.
fn read<O: DeserializeOwned>(
    status: u16,
    expected: u16,
    body: &[u8],
    url: &str,
) -> Result<O, Error> {
    let body = if body.is_empty() { b"null" } else { body };
    if status == expected {
        let unreadable =
            |because| TransportError::Unreadable { url: url.to_owned(), because }.into();
        return serde_json::from_slice(body).map_err(unreadable);
    }
    // Proxies answer for a server, too.
    let otherwise = |_| {
        let (status_code, url) = (status, url.to_owned());
        MeilisearchCommunicationError { status_code, message: None, url }.into()
    };
    Err(serde_json::from_slice::<MeilisearchError>(body).map_or_else(otherwise, Error::from))
}
