//! The targets without libFuzzer: a fixed number of inputs, the same in every run.

use std::{fs, path::Path};

use super::{TARGETS, Target};
use crate::storage::contract::Driver;

/// Inputs made of each seed.
const ROUNDS: usize = 60;

/// The seeds of a target, in the order of their names.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let files = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Changes an input a little, as a fuzzer would.
fn mutate(driver: &mut Driver, input: &mut Vec<u8>, other: &[u8]) {
    let mut place = |len: usize| driver.below(len as u64 + 1) as usize;
    let at = place(input.len());
    let end = at + place((input.len() - at).min(16));
    match place(6) {
        0 => input.insert(at, place(255) as u8),
        1 if at < input.len() => input[at] ^= 1 << place(7),
        2 => drop(input.drain(at..end)),
        3 => {
            let copied = input[at..end].to_vec();
            input.splice(at..at, copied);
        }
        4 => {
            let from = place(other.len());
            let to = from + place((other.len() - from).min(32));
            input.splice(at..end, other[from..to].iter().copied());
        }
        _ => {
            const TELLING: &[&[u8]] = &[
                b"\n",
                b"\0",
                b"%",
                b"\"",
                b"[",
                b"{",
                b",",
                b"9999999999999999999",
                b"\xff",
                b"..",
            ];
            input.splice(at..at, TELLING[place(TELLING.len() - 1)].iter().copied());
        }
    }
}

fn run(name: &str, target: Target) {
    let seeds = seeds(name);
    assert!(seeds.len() >= 3, "{name} has few seeds");
    target(b"");
    let mut driver = Driver::new(name.len() as u64);
    for seed in &seeds {
        target(seed);
        let mut input = seed.clone();
        for round in 0..ROUNDS {
            // Some go far from the seed, some stay near.
            if round % 8 == 0 {
                input.clone_from(seed);
            }
            let other = driver.below(seeds.len() as u64) as usize;
            mutate(&mut driver, &mut input, &seeds[other]);
            let shown = String::from_utf8_lossy(&input).into_owned();
            if std::panic::catch_unwind(|| target(&input)).is_err() {
                panic!("{name} fails with {shown:?}");
            }
        }
    }
}

#[test]
fn every_target_stands_its_seeds_and_what_is_like_them() {
    for (name, target) in TARGETS {
        run(name, target);
    }
}

#[test]
fn every_target_can_be_fuzzed() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is not in fuzz/Cargo.toml"
        );
        let text = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(text.contains(&format!("fuzzing::{name}(data)")), "{text}");
    }
}
