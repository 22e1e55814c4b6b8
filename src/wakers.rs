//! Wakers of tasks that wait for the same event.

use std::{num::NonZeroU64, task::Waker};

use slab::Slab;

/// Tasks in one page. All in one table would take a large allocation for each event, which costs
/// whole huge pages of memory.
const PAGE: usize = 128;

/// The tasks that wait for the next event. Lives under the lock of the state that the event changes,
/// so that a task looks at the state and registers in one step, and misses nothing.
///
/// Wakers that are returned must be dropped after the lock is released: the last one of a task may
/// drop the task, which may take the lock.
#[derive(Debug)]
pub struct Wakers {
    pages: Vec<Slab<Waker>>,
    /// The pages with room.
    roomy: Vec<usize>,
    waiting: usize,
    /// The number of the next event.
    event: NonZeroU64,
}

/// A registered task; void after the event.
#[derive(Debug)]
pub struct Place {
    index: usize,
    event: NonZeroU64,
}

impl Default for Wakers {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            roomy: Vec::new(),
            waiting: 0,
            event: NonZeroU64::MIN,
        }
    }
}

impl Wakers {
    /// Has `waker` woken at the next event. `place` is the same task's earlier registration, if any;
    /// returns the waker of that, if it was another one.
    #[must_use]
    pub fn register(&mut self, place: &mut Option<Place>, waker: &Waker) -> Option<Waker> {
        let Some(place) = place.as_ref().filter(|place| place.event == self.event) else {
            *place = self.insert(waker.clone());
            return None;
        };
        let page = self.pages.get_mut(place.index / PAGE)?;
        let known = page.get_mut(place.index % PAGE)?;
        (!known.will_wake(waker)).then(|| std::mem::replace(known, waker.clone()))
    }

    fn insert(&mut self, waker: Waker) -> Option<Place> {
        let number = match self.roomy.last() {
            Some(number) => *number,
            None => {
                self.pages.push(Slab::new());
                self.roomy.push(self.pages.len() - 1);
                self.pages.len() - 1
            }
        };
        let page = self.pages.get_mut(number)?;
        let index = number * PAGE + page.insert(waker);
        if page.len() == PAGE {
            self.roomy.pop();
        }
        self.waiting += 1;
        let event = self.event;
        Some(Place { index, event })
    }

    /// Whether the event has happened for which a task was registered.
    pub fn has_woken(&self, place: &Place) -> bool {
        place.event != self.event
    }

    /// Removes a task that no longer waits.
    #[must_use]
    pub fn withdraw(&mut self, place: &mut Option<Place>) -> Option<Waker> {
        let place = place.take().filter(|place| place.event == self.event)?;
        let number = place.index / PAGE;
        let page = self.pages.get_mut(number)?;
        let waker = page.try_remove(place.index % PAGE)?;
        self.waiting -= 1;
        if page.len() == PAGE - 1 {
            self.roomy.push(number);
        }
        // Give the memory of a past peak back.
        if page.is_empty() {
            *page = Slab::new();
        }
        if self.waiting == 0 {
            (self.pages, self.roomy) = (Vec::new(), Vec::new());
        }
        Some(waker)
    }

    /// The event: returns the waiting tasks, to be woken after the lock is released.
    #[must_use]
    pub fn take(&mut self) -> Woken {
        self.event = self.event.saturating_add(1);
        let woken = std::mem::take(&mut self.pages);
        self.roomy.clear();
        if self.waiting > 0 {
            // The same tasks usually return for the next event.
            self.pages.push(Slab::with_capacity(self.waiting.min(PAGE)));
            self.roomy.push(0);
            self.waiting = 0;
        }
        Woken(woken)
    }
}

/// Tasks that an event wakes.
#[derive(Debug)]
pub struct Woken(Vec<Slab<Waker>>);

impl Woken {
    /// Wakes them.
    pub fn wake(self) {
        let tasks = self.0.into_iter().flatten();
        tasks.for_each(|(_, waker)| waker.wake());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use futures_util::task::{ArcWake, waker};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl ArcWake for Count {
        fn wake_by_ref(count: &Arc<Self>) {
            count.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn task() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), waker(count))
    }

    fn woken(count: &Count) -> usize {
        count.0.load(Ordering::Relaxed)
    }

    #[test]
    fn an_event_wakes_each_registered_task_once() {
        let (mut wakers, mut places) = (Wakers::default(), [None, None]);
        let tasks = [task(), task()];
        for (place, (_, waker)) in places.iter_mut().zip(&tasks) {
            assert!(wakers.register(place, waker).is_none());
            assert!(wakers.register(place, waker).is_none());
        }
        wakers.take().wake();
        wakers.take().wake();
        assert!(tasks.iter().all(|(count, _)| woken(count) == 1));
        assert!(wakers.register(&mut places[0], &tasks[0].1).is_none());
        wakers.take().wake();
        assert_eq!(tasks.map(|(count, _)| woken(&count)), [2, 1]);
    }

    #[test]
    fn the_last_waker_of_a_task_counts() {
        let (mut wakers, mut place) = (Wakers::default(), None);
        let (first, second) = (task(), task());
        assert!(wakers.register(&mut place, &first.1).is_none());
        assert!(wakers.register(&mut place, &second.1).unwrap().will_wake(&first.1));
        wakers.take().wake();
        assert_eq!((woken(&first.0), woken(&second.0)), (0, 1));
    }

    #[test]
    fn many_tasks_come_and_go_and_are_woken_once() {
        let (mut wakers, (count, waker)) = (Wakers::default(), task());
        let mut places: Vec<Option<Place>> = (0..1000).map(|_| None).collect();
        for round in 1..4 {
            places.iter_mut().for_each(|place| drop(wakers.register(place, &waker)));
            places
                .iter_mut()
                .step_by(3)
                .for_each(|place| drop(wakers.withdraw(place)));
            assert_eq!(wakers.waiting, 666);
            places
                .iter_mut()
                .step_by(3)
                .for_each(|place| drop(wakers.register(place, &waker)));
            assert!(wakers.pages.iter().all(|page| page.len() <= PAGE) && wakers.pages.len() <= 1000 / PAGE + 1);
            wakers.take().wake();
            assert_eq!(woken(&count), round * 1000);
        }
        places.iter_mut().for_each(|place| drop(wakers.register(place, &waker)));
        places.iter_mut().for_each(|place| drop(wakers.withdraw(place)));
        assert_eq!((wakers.waiting, wakers.pages.capacity()), (0, 0));
    }

    #[test]
    fn a_withdrawn_task_is_not_woken_and_a_void_place_removes_nobody() {
        let (mut wakers, mut old, mut new) = (Wakers::default(), None, None);
        let (task, waker) = task();
        assert!(wakers.register(&mut old, &waker).is_none());
        assert!(wakers.withdraw(&mut old).is_some());
        wakers.take().wake();
        assert_eq!(woken(&task), 0);
        assert!(wakers.register(&mut old, &waker).is_none());
        wakers.take().wake();
        assert!(wakers.register(&mut new, &waker).is_none());
        assert!(wakers.withdraw(&mut old).is_none());
        wakers.take().wake();
        assert_eq!(woken(&task), 2);
    }
}
