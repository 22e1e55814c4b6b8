//! Idempotent producers (section 5.2.1), as a function of where a producer stands.

use crate::{protocol::ProducerStamp, storage::ProducerState};

/// The outcome of an acceptable request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// New; the producer stands here afterwards.
    Accept(ProducerState),
    /// Accepted before; the producer stands here.
    Duplicate(ProducerState),
}

/// Why a producer's request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProducerError {
    /// A later epoch has taken over.
    StaleEpoch { current: u64 },
    /// A new epoch must start at sequence number 0.
    EpochStart,
    /// Requests are missing in between.
    SeqGap { expected: u64, received: u64 },
}

/// Judges a request by where its producer stands.
pub(super) fn judge(known: Option<ProducerState>, stamp: &ProducerStamp) -> Result<Outcome, ProducerError> {
    let requested = ProducerState {
        epoch: stamp.epoch,
        seq: stamp.seq,
    };
    let Some(known) = known else {
        return match stamp.seq {
            0 => Ok(Outcome::Accept(requested)),
            received => Err(ProducerError::SeqGap { expected: 0, received }),
        };
    };
    if stamp.epoch < known.epoch {
        return Err(ProducerError::StaleEpoch { current: known.epoch });
    }
    if stamp.epoch > known.epoch {
        return if stamp.seq == 0 {
            Ok(Outcome::Accept(requested))
        } else {
            Err(ProducerError::EpochStart)
        };
    }
    match stamp.seq.checked_sub(known.seq) {
        None | Some(0) => Ok(Outcome::Duplicate(known)),
        Some(1) => Ok(Outcome::Accept(requested)),
        Some(_) => Err(ProducerError::SeqGap {
            expected: known.seq + 1,
            received: stamp.seq,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(epoch: u64, seq: u64) -> ProducerStamp {
        ProducerStamp {
            id: "p".into(),
            epoch,
            seq,
        }
    }

    #[test]
    fn a_new_producer_starts_at_zero_in_any_epoch() {
        assert_eq!(
            judge(None, &stamp(5, 0)).unwrap(),
            Outcome::Accept(ProducerState { epoch: 5, seq: 0 })
        );
        assert!(matches!(
            judge(None, &stamp(0, 1)),
            Err(ProducerError::SeqGap {
                expected: 0,
                received: 1
            })
        ));
    }

    #[test]
    fn a_known_producer_goes_on_repeats_or_leaves_a_gap() {
        let known = ProducerState { epoch: 1, seq: 4 };
        assert_eq!(
            judge(Some(known), &stamp(1, 5)).unwrap(),
            Outcome::Accept(ProducerState { epoch: 1, seq: 5 })
        );
        assert_eq!(judge(Some(known), &stamp(1, 4)).unwrap(), Outcome::Duplicate(known));
        assert_eq!(judge(Some(known), &stamp(1, 0)).unwrap(), Outcome::Duplicate(known));
        assert!(matches!(
            judge(Some(known), &stamp(1, 6)),
            Err(ProducerError::SeqGap {
                expected: 5,
                received: 6
            })
        ));
    }

    #[test]
    fn epochs_only_grow_and_start_at_zero() {
        let known = ProducerState { epoch: 1, seq: 4 };
        assert!(matches!(
            judge(Some(known), &stamp(0, 5)),
            Err(ProducerError::StaleEpoch { current: 1 })
        ));
        assert!(matches!(
            judge(Some(known), &stamp(2, 1)),
            Err(ProducerError::EpochStart)
        ));
        assert_eq!(
            judge(Some(known), &stamp(2, 0)).unwrap(),
            Outcome::Accept(ProducerState { epoch: 2, seq: 0 })
        );
    }
}
