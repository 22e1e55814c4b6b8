//! Random steps through random servers, some of them in the middle of others, against a model.

use super::*;
use crate::random::Random;

/// The state that a stream must have.
#[derive(Debug, Default, Clone, PartialEq)]
struct Model {
    content: String,
    closed: bool,
    next_seq: u64,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Create,
    Delete,
    Append,
    Produce { seq: u64 },
    Close,
}

fn draw(random: &Random) -> Step {
    match random.between(0, 15) {
        0..=2 => Step::Create,
        3 => Step::Delete,
        4 => Step::Close,
        5..=9 => Step::Produce {
            seq: random.between(0, 4),
        },
        _ => Step::Append,
    }
}

/// Does a step through a server. The answer, in words.
async fn answer(engine: &Engine, stream: &StreamName, step: Step) -> String {
    let appended = match step {
        Step::Create => {
            return match engine.create(stream, plain()).await {
                Ok(created) => format!("new {}", created.new),
                Err(CreateError::Exists(what)) => what.to_owned(),
                Err(error) => panic!("{error}"),
            };
        }
        Step::Delete => return format!("deleted {}", engine.delete(stream).await.is_ok()),
        Step::Append => append(engine, stream, "a").await,
        Step::Produce { seq } => engine.append(stream, produced(seq)).await,
        Step::Close => engine.append(stream, closing("")).await,
    };
    match appended {
        Ok(appended) => format!("{} {}", appended.tail.position, appended.duplicate),
        Err(AppendError::NotFound) => "none".into(),
        Err(AppendError::Closed { tail }) => format!("closed at {}", tail.position),
        Err(AppendError::SeqGap { expected, .. }) => format!("gap {expected}"),
        Err(error) => panic!("{error}"),
    }
}

/// The answer that follows from the model.
fn expected(model: &mut Option<Model>, step: Step) -> String {
    match step {
        Step::Create if model.as_ref().is_some_and(|model| model.closed) => return "closed state".into(),
        Step::Create => {
            let new = model.is_none();
            model.get_or_insert_default();
            return format!("new {new}");
        }
        Step::Delete => return format!("deleted {}", model.take().is_some()),
        Step::Append | Step::Produce { .. } | Step::Close => {}
    }
    let Some(model) = model else { return "none".into() };
    let tail = |model: &Model| 2 * model.content.len();
    match step {
        Step::Close => {
            let again = std::mem::replace(&mut model.closed, true);
            return format!("{} {again}", tail(model));
        }
        _ if model.closed => return format!("closed at {}", tail(model)),
        Step::Produce { seq } if seq < model.next_seq => return format!("{} true", tail(model)),
        Step::Produce { seq } if seq > model.next_seq => return format!("gap {}", model.next_seq),
        Step::Produce { seq } => {
            model.next_seq += 1;
            model.content.push_str(&seq.to_string());
        }
        _ => model.content.push('a'),
    }
    format!("{} false", tail(model))
}

#[tokio::test]
async fn servers_answer_as_one() {
    for seed in 1..=40 {
        let random = Random::seeded(seed);
        let shared = Shared::new();
        let servers: Vec<Server> = (0..3).map(|_| Server::new(&shared, unlimited())).collect();
        let streams = [name("s"), name("t")];
        let mut models = [None, None];
        let pick = |count: usize| usize::try_from(random.between(0, count as u64 - 1)).unwrap();
        for step in 0..200 {
            let (server, which) = (pick(servers.len()), pick(streams.len()));
            let (now, stream) = (draw(&random), &streams[which]);
            // Another server's step between the judgement and the commit takes effect first.
            let between = Arc::new(Mutex::new(None));
            let (other, interferes) = (pick(servers.len()), random.between(0, 2) == 0);
            let then = draw(&random);
            if interferes && other != server {
                let (engine, stream, given) = (servers[other].engine.clone(), stream.clone(), Arc::clone(&between));
                servers[server].between(async move {
                    let given_answer = answer(&engine, &stream, then).await;
                    *given.lock() = Some(given_answer);
                });
            }
            let given = answer(&servers[server].engine, stream, now).await;
            *servers[server].connection.before_commit.lock() = None;
            let model = &mut models[which];
            if let Some(given) = between.lock().take() {
                assert_eq!(
                    given,
                    expected(model, then),
                    "seed {seed} step {step}: {then:?} in between"
                );
            }
            assert_eq!(given, expected(model, now), "seed {seed} step {step}: {now:?}");
        }
        for (stream, model) in streams.iter().zip(models) {
            let found = stored(&shared, stream).await.ok();
            assert_eq!(found, model.map(|model| model.content), "seed {seed}");
        }
    }
}
