//! A bare hyper server that answers what the workloads ask without storing anything: the floor
//! under what a server on hyper can reach.

use std::{convert::Infallible, net::Ipv4Addr};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::broadcast};

use crate::{MIB, work};

type Body = BoxBody<Bytes, Infallible>;

/// Serves until it is killed.
pub async fn serve(port: u16) -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let small = Bytes::from(vec![b'x'; 1024]);
    let large = Bytes::from(vec![b'x'; MIB]);
    let (events, _) = broadcast::channel::<Bytes>(1024);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (small, large, events) = (small.clone(), large.clone(), events.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, small.clone(), large.clone(), events.clone()));
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    small: Bytes,
    large: Bytes,
    events: broadcast::Sender<Bytes>,
) -> Result<Response<Body>, Infallible> {
    let live = request.uri().query().is_some_and(|query| query.contains("live=sse"));
    let path = request.uri().path().to_owned();
    let mut response = Response::builder()
        .header("stream-next-offset", "0_1")
        .header("stream-up-to-date", "true");
    let body = if request.method() == Method::POST {
        if let Ok(body) = request.into_body().collect().await {
            let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            let event =
                format!("event: data\ndata: {text}\n\nevent: control\ndata: {{\"streamNextOffset\":\"0_1\"}}\n\n");
            let _ = events.send(event.into());
        }
        response = response.status(StatusCode::NO_CONTENT);
        Full::default().boxed()
    } else if live {
        response = response.header("content-type", "text/event-stream");
        let events = stream::unfold(events.subscribe(), |mut events| async move {
            events.recv().await.ok().map(|event| (Ok(Frame::data(event)), events))
        });
        BodyExt::boxed(StreamBody::new(events))
    } else if path.starts_with(work::LARGE) {
        Full::new(large).boxed()
    } else {
        Full::new(small).boxed()
    };
    Ok(response.body(body).unwrap_or_default())
}
