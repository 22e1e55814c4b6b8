//! Receivers that redirect, hang, drip, lie, flood and close.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, mpsc},
    time::Instant,
};

use super::receiver::{Behaviour, Receiver, behaviour, deliver, failure, responds, writes};
use crate::webhook::{Answer, DeliveryError};

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let other = Receiver::start(responds("200 OK", r#"{"done":true}"#)).await;
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let receiver = Receiver::start(writes(format!(
            "HTTP/1.1 {status}\r\nlocation: {}\r\ncontent-length: 13\r\n\r\n{{\"done\":true}}",
            other.url()
        )))
        .await;
        let failed = failure(deliver(&receiver.url()).await);
        let code: u16 = status[..3].parse().unwrap();
        assert!(
            matches!(failed, DeliveryError::Status(found) if found == code),
            "{failed:?}"
        );
    }
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn a_refusal_is_a_failure_that_names_the_status() {
    let receiver = Receiver::start(responds("500 Internal Server Error", "secret detail")).await;
    let failed = failure(deliver(&receiver.url()).await);
    assert!(matches!(
        failed,
        DeliveryError::Status(StatusCode::INTERNAL_SERVER_ERROR)
    ));
    assert_eq!(failed.to_string(), "the receiver answered 500 Internal Server Error");
}

#[tokio::test]
async fn what_is_not_http_is_a_failure() {
    let long_header = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(100));
    for bytes in [
        "",
        "\r\n",
        "hello\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "\x16\x03\x01\x02\x00",
        &long_header,
        &many_headers,
    ] {
        let receiver = Receiver::start(writes(bytes.to_owned())).await;
        let failed = failure(deliver(&receiver.url()).await);
        let shown = &bytes[..bytes.len().min(60)];
        assert!(matches!(failed, DeliveryError::Http(_)), "{shown:?}: {failed:?}");
    }
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_a_failure() {
    for bytes in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"done\":true}",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nd\r\n{\"done\":true}\r\n",
    ] {
        let receiver = Receiver::start(writes(bytes)).await;
        assert!(
            matches!(failure(deliver(&receiver.url()).await), DeliveryError::Http(_)),
            "{bytes:?}"
        );
    }
}

#[tokio::test]
async fn a_body_of_any_framing_can_say_done() {
    for bytes in [
        "HTTP/1.1 200 OK\r\n\r\n{\"done\":true}",
        "HTTP/1.0 200 OK\r\n\r\n{\"done\":true}",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nd\r\n{\"done\":true}\r\n0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"done\":true}",
    ] {
        let receiver = Receiver::start(writes(bytes)).await;
        assert_eq!(deliver(&receiver.url()).await.unwrap(), Answer::Done, "{bytes:?}");
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_off_and_counts_as_an_acceptance() {
    let (ended, mut end) = mpsc::channel(1);
    let floods = behaviour(move |mut stream| {
        let ended = ended.clone();
        async move {
            _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            let mut written = 0;
            while stream.write_all(&[b' '; 4096]).await.is_ok() {
                written += 4096;
            }
            ended.send(written).await.unwrap();
        }
    });
    let receiver = Receiver::start(floods).await;
    assert_eq!(deliver(&receiver.url()).await.unwrap(), Answer::Accepted);
    // The server has closed the connection; what is between are the sockets' buffers.
    assert!(end.recv().await.unwrap() < 64 * 1024 * 1024);
}

/// Begins as `start` says, notifies, and never ends.
fn hangs_after(start: &'static str, reached: Arc<Notify>) -> Behaviour {
    behaviour(move |mut stream| {
        let reached = Arc::clone(&reached);
        async move {
            stream.write_all(start.as_bytes()).await.unwrap();
            reached.notify_one();
            // Until the other side closes.
            _ = stream.read(&mut [0]).await;
            reached.notify_one();
        }
    })
}

#[tokio::test]
async fn a_response_that_does_not_end_is_a_timeout() {
    for start in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"done\":",
    ] {
        let reached = Arc::new(Notify::new());
        let receiver = Receiver::start(hangs_after(start, Arc::clone(&reached))).await;
        let url = receiver.url();
        let delivery = tokio::spawn(async move { deliver(&url).await });
        reached.notified().await;
        tokio::time::pause();
        let failed = failure(delivery.await.unwrap());
        assert!(matches!(failed, DeliveryError::Timeout(_)), "{start:?}: {failed:?}");
        assert_eq!(failed.to_string(), "no complete response within 30 s");
        tokio::time::resume();
        // The connection is closed.
        reached.notified().await;
    }
}

/// Repeats `piece`, one each second, after `start`.
fn drips(start: &'static str, piece: &'static str, reached: Arc<Notify>) -> Behaviour {
    behaviour(move |mut stream| {
        let reached = Arc::clone(&reached);
        async move {
            stream.write_all(start.as_bytes()).await.unwrap();
            reached.notify_one();
            while stream.write_all(piece.as_bytes()).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    })
}

#[tokio::test]
async fn a_response_that_drips_is_a_timeout_too() {
    for (start, piece) in [
        ("HTTP/1.1 200 OK\r\n\r\n", " "),
        ("HTTP/1.1 200 OK\r\n", "x: y\r\n"),
        ("", "HTTP/1.1 103 Early Hints\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\n \r\n"),
    ] {
        let reached = Arc::new(Notify::new());
        let receiver = Receiver::start(drips(start, piece, Arc::clone(&reached))).await;
        let url = receiver.url();
        let delivery = tokio::spawn(async move { deliver(&url).await });
        reached.notified().await;
        tokio::time::pause();
        let begun = Instant::now();
        let failed = failure(delivery.await.unwrap());
        assert!(matches!(failed, DeliveryError::Timeout(_)), "{start:?}: {failed:?}");
        assert!(begun.elapsed() < Duration::from_secs(31));
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_delivery_that_is_dropped_closes_its_connection() {
    let reached = Arc::new(Notify::new());
    let receiver = Receiver::start(hangs_after("HTTP/1.1 200 OK\r\n", Arc::clone(&reached))).await;
    let url = receiver.url();
    let delivery = tokio::spawn(async move { deliver(&url).await });
    reached.notified().await;
    delivery.abort();
    reached.notified().await;
}
