//! Tests of the budgets.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;

use super::{
    budget::{MAX_SMALL_FRAME, ResponseBudget},
    budgets::ResponseBudgets,
};

#[test]
fn an_address_is_limited_and_forgotten_without_connections() {
    let budgets = ResponseBudgets::new(1 << 20, 400_000, Duration::from_secs(30));
    let client = Some;
    let frame = |_| Bytes::from(vec![0; 200_000]);
    let frames: Vec<Bytes> = (0..4).map(frame).collect();
    let one = Arc::new(ResponseBudget::of_connection(1 << 20, &budgets.of_client(client(1))));
    let held = [&frames[0], &frames[1]].map(|frame| one.try_charge(frame).unwrap());
    assert!(budgets.of_client(client(1)).try_charge(&frames[2]).is_none());
    assert!(one.is_exhausted() && !one.may_start(1 << 20));
    assert!(budgets.of_client(client(2)).try_charge(&frames[3]).is_some());
    assert!(budgets.of_client(None).try_charge(&frames[3]).is_some());
    drop(held);
    assert!(one.try_charge(&frames[2]).is_some());
    assert_eq!(budgets.charged(), 0);
    drop(one);
    for last in 0..=255 {
        drop(budgets.of_client(client(last)));
    }
    assert!(budgets.addresses.lock().len() < 16);
}

fn budgets(total: u64, connection: u64) -> (Arc<ResponseBudget>, Arc<ResponseBudget>) {
    let total = Arc::new(ResponseBudget::new(total, Duration::from_secs(30)));
    let connection = Arc::new(ResponseBudget::of_connection(connection, &total));
    (total, connection)
}

#[test]
fn a_frame_is_charged_until_its_last_chunk_is_dropped() {
    let (total, connection) = budgets(1 << 20, 1 << 20);
    for size in [1, MAX_SMALL_FRAME, MAX_SMALL_FRAME + 1, 1 << 20] {
        let frame = Bytes::from(vec![0; size]);
        let charge = connection.charge(&frame);
        let other = Arc::clone(&charge);
        drop(charge);
        assert_eq!((total.charged(), connection.charged()), (size, size));
        drop(other);
        assert_eq!((total.charged(), connection.charged()), (0, 0));
    }
    assert!(total.shared.lock().is_empty() && connection.shared.lock().is_empty());
}

#[test]
fn a_shared_frame_is_charged_once() {
    let (total, one) = budgets(1 << 20, 1 << 20);
    let other = Arc::new(ResponseBudget::of_connection(1 << 20, &total));
    let frame = Bytes::from(vec![0; 100_000]);
    let charges = [one.charge(&frame), one.charge(&frame), other.charge(&frame.clone())];
    assert_eq!(
        (total.charged(), one.charged(), other.charged()),
        (100_000, 100_000, 100_000)
    );
    drop(charges);
    assert_eq!((total.charged(), one.charged(), other.charged()), (0, 0, 0));
}

#[test]
fn a_frame_without_room_is_refused_unless_it_is_already_charged() {
    let (_total, connection) = budgets(1 << 30, 400_000);
    let frame = |_| Bytes::from(vec![0; 200_000]);
    let frames: Vec<Bytes> = (0..3).map(frame).collect();
    let held: Vec<_> = frames[..2]
        .iter()
        .map(|frame| connection.try_charge(frame).unwrap())
        .collect();
    assert!(connection.try_charge(&frames[2]).is_none());
    assert!(connection.try_charge(&frames[1]).is_some());
    // Large frames leave the room of small ones alone.
    assert!(connection.try_charge(&Bytes::from(vec![0; 1000])).is_some());
    drop(held);
    assert!(connection.try_charge(&frames[2]).is_some());
}

#[tokio::test]
async fn waiters_get_room_one_after_another() {
    let (total, connection) = budgets(400_000, 1 << 30);
    let first = total.try_reserve(300_000).unwrap();
    assert!(connection.try_reserve(100_000).is_none());
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let connection = Arc::clone(&connection);
            tokio::spawn(async move { drop(connection.reserve(100_000).await) })
        })
        .collect();
    tokio::task::yield_now().await;
    drop(first);
    for task in waiting {
        tokio::time::timeout(Duration::from_secs(5), task)
            .await
            .unwrap()
            .unwrap();
    }
    assert_eq!((total.charged(), connection.charged()), (0, 0));
}
