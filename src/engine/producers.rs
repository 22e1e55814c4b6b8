//! Idempotent producers (section 5.2.1).

use super::errors::AppendError;
use crate::{
    protocol::{Offset, ProducerStamp},
    storage::ProducerState,
};

/// What a producer's request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// New; the producer stands here afterwards.
    Accept(ProducerState),
    /// Was accepted before; the producer stands here.
    Duplicate(ProducerState),
}

/// Judges a request by where its producer stands. `closed_at`: where the stream ends, if it is closed.
pub(super) fn judge(
    known: Option<ProducerState>,
    stamp: &ProducerStamp,
    closed_at: Option<Offset>,
) -> Result<Verdict, AppendError> {
    let requested = ProducerState {
        epoch: stamp.epoch,
        seq: stamp.seq,
    };
    let Some(known) = known else {
        return match stamp.seq {
            0 => Ok(Verdict::Accept(requested)),
            received => Err(AppendError::SeqGap { expected: 0, received }),
        };
    };
    if stamp.epoch < known.epoch {
        return Err(AppendError::StaleEpoch {
            current: known.epoch,
            closed_at,
        });
    }
    if stamp.epoch > known.epoch {
        return if stamp.seq == 0 {
            Ok(Verdict::Accept(requested))
        } else {
            Err(AppendError::EpochStart)
        };
    }
    match stamp.seq.checked_sub(known.seq) {
        None | Some(0) => Ok(Verdict::Duplicate(known)),
        Some(1) => Ok(Verdict::Accept(requested)),
        Some(_) => Err(AppendError::SeqGap {
            expected: known.seq + 1,
            received: stamp.seq,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: Offset = Offset {
        incarnation: 1,
        position: 7,
    };

    fn stamp(epoch: u64, seq: u64) -> ProducerStamp {
        ProducerStamp {
            id: "p".into(),
            epoch,
            seq,
        }
    }

    fn judge(known: Option<ProducerState>, stamp: &ProducerStamp) -> Result<Verdict, AppendError> {
        super::judge(known, stamp, Some(TAIL))
    }

    #[test]
    fn a_new_producer_starts_at_zero_in_any_epoch() {
        assert_eq!(
            judge(None, &stamp(5, 0)).unwrap(),
            Verdict::Accept(ProducerState { epoch: 5, seq: 0 })
        );
        assert!(matches!(
            judge(None, &stamp(0, 1)),
            Err(AppendError::SeqGap {
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
            Verdict::Accept(ProducerState { epoch: 1, seq: 5 })
        );
        assert_eq!(judge(Some(known), &stamp(1, 4)).unwrap(), Verdict::Duplicate(known));
        assert_eq!(judge(Some(known), &stamp(1, 0)).unwrap(), Verdict::Duplicate(known));
        assert!(matches!(
            judge(Some(known), &stamp(1, 6)),
            Err(AppendError::SeqGap {
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
            Err(AppendError::StaleEpoch {
                current: 1,
                closed_at: Some(TAIL)
            })
        ));
        assert!(matches!(judge(Some(known), &stamp(2, 1)), Err(AppendError::EpochStart)));
        assert_eq!(
            judge(Some(known), &stamp(2, 0)).unwrap(),
            Verdict::Accept(ProducerState { epoch: 2, seq: 0 })
        );
    }
}
