//! Random requests to a few names, a few at a time, checked against what their answers say
//! must then be there.

use super::*;

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
            // `None`: there is none.
            let mut model: Option<String> = None;
            for step in 0..150 {
                let failed = match random.below(10) {
                    0 | 1 => match engine.create(&stream, plain()).await {
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
                                assert_eq!(appended.tail, model.len() as u64, "seed {seed} step {step}");
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
                        let bytes = storage.inner.read(stored.record.id, 0..stored.tail).unwrap();
                        String::from_utf8(bytes.to_vec()).unwrap()
                    });
                }
                assert_eq!(found, model, "seed {seed} step {step}");
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
