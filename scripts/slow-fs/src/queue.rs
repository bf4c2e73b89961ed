//! Responsible for one queue of the requests of all nodes, as in front of one storage target.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Limits of the storage that all nodes share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Time that each request waits before its bytes begin to flow.
    pub(crate) latency: Duration,
    /// Requests that are in work at the same time.
    pub(crate) at_once: usize,
    /// Bytes per second of all requests together; `None` is without limit.
    pub(crate) bandwidth: Option<u64>,
}

impl Limits {
    fn are_none(&self) -> bool {
        self.latency.is_zero() && self.bandwidth.is_none()
    }
}

/// Arithmetic of the queue, without a clock of its own.
///
/// Each request takes a place, waits for the latency, sends its bytes when the link is free, and
/// gives the place back. Requests that arrive in order are due in order.
#[derive(Debug)]
pub(crate) struct Schedule {
    limits: Limits,
    places: BinaryHeap<Reverse<Duration>>,
    link_is_free: Duration,
}

impl Schedule {
    /// Starts with all places free.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            places: (0..limits.at_once.max(1))
                .map(|_| Reverse(Duration::ZERO))
                .collect(),
            link_is_free: Duration::ZERO,
        }
    }

    /// Returns the time at which the answer to a request that arrives at `now` is complete.
    pub(crate) fn due(&mut self, now: Duration, bytes: u64) -> Duration {
        let Reverse(free) = self.places.pop().unwrap_or(Reverse(Duration::ZERO));
        let mut due = free.max(now) + self.limits.latency;
        if let Some(bandwidth) = self.limits.bandwidth {
            let transfer = Duration::from_secs_f64(bytes as f64 / bandwidth as f64);
            due = due.max(self.link_is_free) + transfer;
            self.link_is_free = due;
        }
        self.places.push(Reverse(due));
        due
    }
}

type Answer = Box<dyn FnOnce() + Send>;

/// Answers with the times at which they are due.
type Answers = Sender<(Duration, Answer)>;

/// A schedule with a thread that sends the answers when they are due.
pub(crate) struct Queue {
    started: Instant,
    inner: Option<Mutex<(Schedule, Answers)>>,
}

impl Queue {
    /// Starts the thread, unless nothing is limited.
    pub(crate) fn new(limits: Limits) -> Self {
        let started = Instant::now();
        let inner = (!limits.are_none()).then(|| {
            let (sender, receiver) = channel();
            thread::spawn(move || send_when_due(started, &receiver));
            Mutex::new((Schedule::new(limits), sender))
        });
        Self { started, inner }
    }

    /// Takes a request of `bytes` bytes whose answer is sent by `answer`.
    pub(crate) fn pass(&self, bytes: u64, answer: impl FnOnce() + Send + 'static) {
        let Some(inner) = &self.inner else {
            return answer();
        };
        let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
        let due = inner.0.due(self.started.elapsed(), bytes);
        // The thread ends only with the process, so that the answer is taken.
        let _ = inner.1.send((due, Box::new(answer)));
    }
}

fn send_when_due(started: Instant, receiver: &Receiver<(Duration, Answer)>) {
    for (due, answer) in receiver {
        thread::sleep(due.saturating_sub(started.elapsed()));
        answer();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn schedule(latency: u32, at_once: usize, bandwidth: Option<u64>) -> Schedule {
        Schedule::new(Limits {
            latency: MS * latency,
            at_once,
            bandwidth,
        })
    }

    #[test]
    fn a_request_waits_for_the_latency_and_then_for_its_bytes() {
        let mut schedule = schedule(5, 4, Some(100_000_000));
        assert_eq!(schedule.due(MS, 0), MS * 6);
        // 1 MB at 100 MB/s takes 10 ms.
        assert_eq!(schedule.due(MS * 100, 1_000_000), MS * 115);
    }

    #[test]
    fn as_many_as_there_are_places_wait_together() {
        let mut schedule = schedule(5, 2, None);
        let due: Vec<Duration> = (0..5).map(|_| schedule.due(Duration::ZERO, 4096)).collect();
        assert_eq!(due, [MS * 5, MS * 5, MS * 10, MS * 10, MS * 15]);
        // The places are free again long before the next request.
        assert_eq!(schedule.due(MS * 1000, 4096), MS * 1005);
    }

    #[test]
    fn all_requests_share_the_bandwidth() {
        let mut schedule = schedule(1, 64, Some(1_000_000_000));
        let mut last = Duration::ZERO;
        for _ in 0..64 {
            let due = schedule.due(Duration::ZERO, 1_000_000);
            assert!(due > last);
            last = due;
        }
        // 64 requests of 1 ms each, one behind the other, after one latency.
        assert_eq!(last, MS * 65);
    }

    #[test]
    fn answers_are_due_in_the_order_of_their_requests() {
        let mut schedule = schedule(3, 3, Some(50_000_000));
        let mut last = Duration::ZERO;
        for (number, bytes) in [0, 900_000, 10, 4096, 0, 131_072]
            .repeat(20)
            .iter()
            .enumerate()
        {
            let due = schedule.due(MS * number as u32, *bytes);
            assert!(due >= last, "{number}");
            last = due;
        }
    }

    #[test]
    fn a_queue_answers_after_the_latency() {
        let queue = Queue::new(Limits {
            latency: MS * 20,
            at_once: 1,
            bandwidth: None,
        });
        let (sender, receiver) = channel();
        let began = Instant::now();
        for number in 0..2 {
            let sender = sender.clone();
            queue.pass(0, move || sender.send(number).unwrap());
        }
        assert_eq!(receiver.recv().unwrap(), 0);
        assert_eq!(receiver.recv().unwrap(), 1);
        assert!(began.elapsed() >= MS * 40);
    }
}
