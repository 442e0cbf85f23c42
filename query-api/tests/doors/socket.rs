//! A client of `graphql-transport-ws`.

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::stage::{PATIENCE, Stage};

/// An open socket.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Opens a socket with these headers beside its own.
    pub async fn open(stage: &Stage, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let mut request = format!("ws://{}/graphql", stage.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Opens a socket that speaks the protocol, and says nothing yet.
    pub async fn silent(stage: &Stage) -> Self {
        let protocol = [("sec-websocket-protocol", "graphql-transport-ws")];
        Self::open(stage, &protocol).await.unwrap()
    }

    /// Opens a socket, and says who it is.
    pub async fn of(stage: &Stage, token: &str) -> Self {
        let mut socket = Self::silent(stage).await;
        socket.init(token).await;
        assert_eq!(socket.next().await, json!({ "type": "connection_ack" }));
        socket
    }

    /// Whether what was said of who it is was taken; if not, it is closed.
    pub async fn is_welcome(&mut self) -> bool {
        match self.frame().await {
            Message::Text(text) => text.contains("connection_ack"),
            _ => false,
        }
    }

    pub async fn init(&mut self, token: &str) {
        let payload = json!({ "authorization": format!("Bearer {token}") });
        self.say(json!({ "type": "connection_init", "payload": payload })).await;
    }

    pub async fn say(&mut self, message: Value) {
        self.send(Message::text(message.to_string())).await;
    }

    pub async fn send(&mut self, message: Message) {
        self.0.send(message).await.unwrap();
    }

    pub async fn subscribe(&mut self, id: &str, query: &str, variables: Value) {
        let payload = json!({ "query": query, "variables": variables });
        self.say(json!({ "type": "subscribe", "id": id, "payload": payload })).await;
    }

    /// The next message.
    pub async fn next(&mut self) -> Value {
        match self.frame().await {
            Message::Text(text) => serde_json::from_str(text.as_str()).unwrap(),
            frame => panic!("no message, but {frame:?}"),
        }
    }

    /// The code that the socket is closed with.
    pub async fn closed(&mut self) -> u16 {
        self.closed_because().await.0
    }

    /// The same with the reason.
    pub async fn closed_because(&mut self) -> (u16, String) {
        loop {
            match self.frame().await {
                Message::Close(Some(frame)) => {
                    return (frame.code.into(), frame.reason.as_str().to_owned());
                }
                Message::Text(_) => {}
                frame => panic!("not closed, but {frame:?}"),
            }
        }
    }

    /// The code that the socket is closed with while it sends so much, which need not get through.
    pub async fn closed_while_sending(self, bytes: usize) -> u16 {
        let (mut sink, frames) = self.0.split();
        let mut closes = Box::pin(frames.filter_map(async |frame| match frame.unwrap() {
            Message::Close(frame) => frame,
            _ => None,
        }));
        let sending = async {
            let _ = sink.send(Message::text("a".repeat(bytes))).await;
            std::future::pending::<()>().await
        };
        let closing = timeout(PATIENCE, closes.next());
        tokio::select! {
            () = sending => unreachable!("it never ends"),
            frame = closing => frame.expect("in time").expect("it is told why").code.into(),
        }
    }

    async fn frame(&mut self) -> Message {
        let frame = async {
            loop {
                match self.0.next().await.expect("the socket is open").unwrap() {
                    Message::Ping(_) | Message::Pong(_) => {}
                    frame => return frame,
                }
            }
        };
        timeout(PATIENCE, frame).await.expect("something comes in time")
    }
}
