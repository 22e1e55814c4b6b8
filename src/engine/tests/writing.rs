//! Writers of different scopes do not affect one another.

use super::*;

async fn write(
    engine: &Engine,
    stream: &StreamName,
    writer: Option<WriterScope>,
    seq: u64,
    close: bool,
) -> Result<Appended, AppendError> {
    let request = AppendRequest {
        content_type: Some(ContentType::parse("text/plain").unwrap()),
        body: Bytes::from_static(b"x"),
        close,
        producer: Some(ProducerStamp {
            id: "p".into(),
            epoch: 0,
            seq,
        }),
        writer,
        ..AppendRequest::default()
    };
    engine.append(stream, request).await
}

#[tokio::test]
async fn a_close_is_repeated_only_by_its_writer() {
    let engine = start(Arc::new(InMemoryStorage::new(0)));
    let writers = [None, Some(WriterScope::new([1; 16])), Some(WriterScope::new([2; 16]))];
    for (n, closing) in writers.into_iter().enumerate() {
        let stream = name(&format!("s{n}"));
        engine.create(&stream, plain()).await.unwrap();
        write(&engine, &stream, closing, 0, true).await.unwrap();
        for writer in writers {
            let again = write(&engine, &stream, writer, 0, true).await;
            if writer == closing {
                assert!(again.unwrap().duplicate);
            } else {
                assert!(matches!(again, Err(AppendError::Closed { .. })), "{again:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_refused_append_changes_nothing_about_its_writer() {
    let engine = start(Arc::new(InMemoryStorage::new(0)));
    let stream = name("s");
    engine.create(&stream, plain()).await.unwrap();
    let writer = Some(WriterScope::new([1; 16]));
    assert!(!write(&engine, &stream, writer, 0, false).await.unwrap().duplicate);
    for gap in [2, 3] {
        let refused = write(&engine, &stream, writer, gap, false).await;
        assert!(
            matches!(refused, Err(AppendError::SeqGap { expected: 1, .. })),
            "{refused:?}"
        );
    }
    assert!(!write(&engine, &stream, writer, 1, false).await.unwrap().duplicate);
}
