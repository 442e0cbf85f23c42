//! The public doors: commands over HTTP, queries and subscriptions in GraphQL.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use futures::{SinkExt as _, StreamExt as _};
use reqwest::{Body, Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::people::Person;
use super::stage::Stage;

/// How long a subscription may take to bring what is expected.
const ARRIVAL: Duration = Duration::from_secs(30);

/// What a command was answered.
pub struct Done {
    pub id: String,
    pub position: String,
}

impl Stage {
    /// Sends a command that must be carried out; `Null` as the body sends none.
    pub async fn command(
        &self,
        who: Option<&Person>,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Done> {
        let answer = self.send(Method::POST, who, path, Payload::Json(body)).await?;
        done(&answer).with_context(|| format!("POST {path} answered {answer}"))
    }

    /// The same with the method PUT.
    pub async fn put(&self, who: &Person, path: &str) -> anyhow::Result<Done> {
        let answer = self.send(Method::PUT, Some(who), path, Payload::Json(&Value::Null)).await?;
        done(&answer).with_context(|| format!("PUT {path} answered {answer}"))
    }

    /// Sends a command and returns the document it is answered with.
    pub async fn post(
        &self,
        who: Option<&Person>,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Value> {
        self.send(Method::POST, who, path, Payload::Json(body)).await
    }

    /// Sends a file.
    pub async fn upload(&self, who: &Person, file: Vec<u8>) -> anyhow::Result<Value> {
        self.send(Method::POST, Some(who), "/api/v1/uploads", Payload::File(file)).await
    }

    async fn send(
        &self,
        method: Method,
        who: Option<&Person>,
        path: &str,
        payload: Payload<'_>,
    ) -> anyhow::Result<Value> {
        loop {
            let url = format!("{}{path}", self.commands);
            let mut request = self.client.request(method.clone(), url);
            if let Some(person) = who {
                request = request.bearer_auth(&person.token);
            }
            request = match &payload {
                Payload::Json(Value::Null) => request,
                Payload::Json(body) => request.json(body),
                Payload::File(bytes) => request.body(Body::from(bytes.clone())),
            };
            let response = request.send().await.with_context(|| {
                format!("the platform can't be reached at {} (VEZA_URL)", self.commands)
            })?;
            let status = response.status();
            if status == StatusCode::TOO_MANY_REQUESTS {
                // A thousand decoys come faster than the platform lets one person write.
                let wait = response.headers().get("retry-after");
                let wait = wait.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(1);
                tokio::time::sleep(Duration::from_secs(wait)).await;
                continue;
            }
            let answer: Value = response.json().await.context("an answer that is no JSON")?;
            ensure!(status.is_success(), "{method} {path} answered {status}: {answer}");
            return Ok(answer);
        }
    }

    /// Asks in GraphQL; sees everything up to `position` where one is given.
    pub async fn query(
        &self,
        who: Option<&Person>,
        position: Option<&str>,
        query: &str,
        variables: Value,
    ) -> anyhow::Result<Value> {
        let mut request = self.client.post(format!("{}/graphql", self.queries));
        if let Some(person) = who {
            request = request.bearer_auth(&person.token);
        }
        if let Some(position) = position {
            request = request.header("veza-min-position", position);
        }
        let request = request.json(&json!({ "query": query, "variables": variables }));
        let response = request.send().await.with_context(|| {
            format!("the platform can't be reached at {} (VEZA_QUERY_URL)", self.queries)
        })?;
        let status = response.status();
        let mut answer: Value = response.json().await.context("an answer that is no JSON")?;
        ensure!(answer.get("errors").is_none(), "GraphQL answered {status}: {answer}");
        Ok(answer["data"].take())
    }

    /// Fetches what a path of the query side gives.
    pub async fn fetch(&self, who: Option<&Person>, path: &str) -> anyhow::Result<Vec<u8>> {
        let mut request = self.client.get(format!("{}{path}", self.queries));
        if let Some(person) = who {
            request = request.bearer_auth(&person.token);
        }
        let response = request.send().await?;
        ensure!(response.status().is_success(), "GET {path} answered {}", response.status());
        Ok(response.bytes().await?.to_vec())
    }

    /// Subscribes over a WebSocket, and returns when the platform has taken it on.
    pub async fn subscribe(
        &self,
        who: &Person,
        query: &str,
        variables: Value,
    ) -> anyhow::Result<Subscription> {
        let (_, host) = self.queries.split_once("://").context("VEZA_QUERY_URL is no URL")?;
        let scheme = if self.queries.starts_with("https") { "wss" } else { "ws" };
        let mut request = format!("{scheme}://{host}/graphql").into_client_request()?;
        let protocol = HeaderValue::from_static("graphql-transport-ws");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let (socket, _) = connect_async(request).await.context("no WebSocket")?;
        let mut subscription = Subscription { socket };
        let authorization = format!("Bearer {}", who.token);
        let hello =
            json!({ "type": "connection_init", "payload": { "authorization": authorization } });
        subscription.send(&hello).await?;
        let welcome = subscription.receive().await?;
        ensure!(welcome["type"] == "connection_ack", "the socket was refused: {welcome}");
        let payload = json!({ "query": query, "variables": variables });
        subscription.send(&json!({ "type": "subscribe", "id": "1", "payload": payload })).await?;
        Ok(subscription)
    }
}

enum Payload<'a> {
    Json(&'a Value),
    File(Vec<u8>),
}

fn done(answer: &Value) -> Option<Done> {
    let text = |key: &str| answer[key].as_str().map(str::to_owned);
    Some(Done { id: text("id")?, position: text("position")? })
}

/// An open subscription.
pub struct Subscription {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Subscription {
    /// The data of the next event.
    pub async fn next(&mut self) -> anyhow::Result<Value> {
        let mut message = self.receive().await?;
        match message["type"].as_str() {
            Some("next") => Ok(message["payload"]["data"].take()),
            _ => bail!("the subscription ended with {message}"),
        }
    }

    async fn send(&mut self, message: &Value) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::text(message.to_string())).await?)
    }

    async fn receive(&mut self) -> anyhow::Result<Value> {
        let receiving = async {
            loop {
                let message = self.socket.next().await.context("the socket was closed")??;
                let message: Value = match message {
                    Message::Text(text) => serde_json::from_str(text.as_str())?,
                    Message::Close(why) => return Err(anyhow!("the socket was closed: {why:?}")),
                    _ => continue,
                };
                if message["type"] == "ping" {
                    self.send(&json!({ "type": "pong" })).await?;
                } else {
                    return Ok(message);
                }
            }
        };
        tokio::time::timeout(ARRIVAL, Box::pin(receiving)).await.context("nothing arrived")?
    }
}
