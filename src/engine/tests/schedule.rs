//! Random requests to a few names, a few at a time, checked against what their answers say
//! must then be there.

use super::*;
use crate::{protocol::RetentionPolicy, protocol::frame};

/// A small generator with a seed, so that what failed can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What every other stream keeps.
const KEPT: usize = 60;

/// Whether a stream that has everything in `model`, or the end of it, is as it must be.
fn agrees(found: Option<&String>, model: Option<&String>, keeps_all: bool) -> bool {
    match (found, model) {
        (Some(found), Some(model)) if keeps_all => found == model,
        (Some(found), Some(model)) => {
            model.ends_with(found.as_str()) && found.len() >= model.len().min(KEPT / 2) && found.len() <= KEPT
        }
        (found, model) => found == model,
    }
}

/// Runs a schedule in which requests to a name never overlap, so that the model is exact,
/// while requests to different names do, so that they meet in batches.
async fn run_with(seed: u64, faults: bool) {
    const NAMES: u64 = 8;
    let storage = Faulty::new(0);
    let engine = start(Arc::clone(&storage) as _);
    let mut tasks = Vec::new();
    for index in 0..NAMES {
        let (engine, storage) = (engine.clone(), Arc::clone(&storage));
        tasks.push(tokio::spawn(async move {
            let mut random = Random(seed * 1000 + index + 1);
            let stream = name(&format!("s{index}"));
            let keeps_all = index % 2 == 0;
            let retention = RetentionPolicy {
                max_age_secs: None,
                max_bytes: Some(KEPT as u64),
            };
            let request = CreateRequest {
                retention: (!keeps_all).then_some(retention),
                ..plain()
            };
            // `None`: there is none.
            let mut model: Option<String> = None;
            for step in 0..150 {
                let failed = match random.below(10) {
                    0 | 1 => match engine.create(&stream, request.clone()).await {
                        Ok(created) => {
                            assert_eq!(created.new, model.is_none(), "seed {seed} step {step}");
                            model.get_or_insert_default();
                            false
                        }
                        Err(error) => matches!(error, CreateError::Unavailable(_)),
                    },
                    2 => match engine.delete(&stream).await {
                        Ok(()) => {
                            assert!(model.take().is_some(), "seed {seed} step {step}");
                            false
                        }
                        Err(DeleteError::NotFound) => {
                            assert!(model.is_none(), "seed {seed} step {step}");
                            false
                        }
                        Err(_) => true,
                    },
                    3 if faults => {
                        let fault = if random.below(2) == 0 {
                            Fault::Refused
                        } else {
                            Fault::Landed
                        };
                        *storage.fault.lock() = Some(fault);
                        false
                    }
                    _ => {
                        let text = format!("{index}.{step} ");
                        match append(&engine, &stream, &text).await {
                            Ok(appended) => {
                                let model = model.as_mut().unwrap();
                                model.push_str(&text);
                                // Each append has a header of one byte.
                                let stored = model.len() + model.matches(' ').count();
                                let tail = appended.tail.position;
                                assert_eq!(tail, stored as u64, "seed {seed} step {step}");
                                false
                            }
                            Err(AppendError::NotFound) => {
                                assert!(model.is_none(), "seed {seed} step {step}");
                                false
                            }
                            Err(_) => true,
                        }
                    }
                };
                let found = content(&engine, &stream).await.ok();
                if failed {
                    // It may have happened or not, and memory must know which.
                    model = storage.inner.get(&stream).unwrap().map(|stored| {
                        let earliest = stored.record.earliest();
                        let bytes = storage.inner.read(stored.record.id, earliest..stored.tail).unwrap();
                        let gone = "?".repeat(usize::try_from(earliest).unwrap());
                        let appends = frame::frames(&bytes, stored.record.framing);
                        appends.fold(gone, |all, append| all + std::str::from_utf8(&bytes[append]).unwrap())
                    });
                }
                assert!(
                    agrees(found.as_ref(), model.as_ref(), keeps_all),
                    "seed {seed} step {step}: {found:?} for {model:?}"
                );
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_there() {
    for seed in 1..=5 {
        run_with(seed, false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_leaves_memory_as_the_store_is() {
    for seed in 1..=5 {
        run_with(seed, true).await;
    }
}
