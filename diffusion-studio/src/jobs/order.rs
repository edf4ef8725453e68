//! Whose job comes next.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A place in the order: a tag, and a number that counts up for equal tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// When its turn comes in the virtual time of the order.
    pub tag: u64,
    /// How many were queued before it.
    pub sequence: u64,
}

/// Round robin over users, and first come first served within a user.
///
/// It is start-time fair queueing with jobs of equal cost: a job's tag is the virtual time of its arrival, or one more than the tag
/// of the user's job before it, whichever is later; the smallest tag is next, and virtual time is the tag of what was started
/// last. So a user with a hundred waiting jobs delays another user's job by one job.
///
/// ```
/// use diffusion_studio::jobs::FairOrder;
///
/// let mut order = FairOrder::new();
/// for job in ["a1", "a2", "a3"] {
///     order.push("anna", job);
/// }
/// assert_eq!(order.pop().map(|(_, job)| job), Some("a1"));
/// order.push("ben", "b1");
/// assert_eq!(order.pop().map(|(_, job)| job), Some("b1"));
/// ```
///
/// Reference: Goyal, Vin and Cheng, "Start-time fair queueing", SIGCOMM 1996.
#[derive(Clone, Debug)]
pub struct FairOrder<T> {
    /// Virtual time.
    now: u64,
    next_sequence: u64,
    waiting: BTreeMap<Place, (String, T)>,
    users: HashMap<String, User>,
    /// Users who wait for nothing, by the tag of their next job.
    resting: BTreeSet<(u64, String)>,
}

/// Of so many users who wait for nothing it is remembered that they had more than others.
const MANY_USERS: usize = 4096;

#[derive(Clone, Debug, Default)]
struct User {
    /// Tag after the one of the job that was started last.
    next: u64,
    waiting: BTreeSet<Place>,
}

impl<T> Default for FairOrder<T> {
    fn default() -> Self {
        Self { now: 0, next_sequence: 0, waiting: BTreeMap::new(), users: HashMap::new(), resting: BTreeSet::new() }
    }
}

impl<T> FairOrder<T> {
    /// Nobody waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Put a job of a user at the end of what this user waits for.
    pub fn push(&mut self, user: &str, job: T) -> Place {
        let place = self.place_of_next(user);
        self.insert(user, place, job);
        place
    }

    /// The place that the next job of a user would get.
    pub fn place_of_next(&self, user: &str) -> Place {
        let after = self.users.get(user).map_or(0, |user| user.next.max(user.waiting.last().map_or(0, |last| last.tag + 1)));
        Place { tag: self.now.max(after), sequence: self.next_sequence }
    }

    /// Put a job where it was before: after a restart, or when it is handed back.
    pub fn insert(&mut self, user: &str, place: Place, job: T) {
        self.next_sequence = self.next_sequence.max(place.sequence + 1);
        let entry = self.users.entry(user.to_owned()).or_default();
        if entry.waiting.is_empty() {
            self.resting.remove(&(entry.next, user.to_owned()));
        }
        entry.waiting.insert(place);
        self.waiting.insert(place, (user.to_owned(), job));
    }

    /// Take the next job.
    pub fn pop(&mut self) -> Option<(Place, T)> {
        let (place, _) = self.first()?;
        Some((place, self.take(place)?))
    }

    /// Take a job, also before its turn: it counts for its user like any other, but time stays with those whose turn it is, or
    /// who comes now would wait behind all that others have up to there.
    pub fn take(&mut self, place: Place) -> Option<T> {
        let (first, _) = self.first()?;
        let (user, job) = self.waiting.remove(&place)?;
        self.now = self.now.max(first.tag);
        if let Some(served) = self.users.get_mut(&user) {
            served.next = served.next.max(place.tag + 1);
        }
        self.waits_no_more(user, place);
        Some(job)
    }

    /// Take a job out of the order.
    pub fn remove(&mut self, place: Place) -> Option<T> {
        let (user, job) = self.waiting.remove(&place)?;
        self.waits_no_more(user, place);
        Some(job)
    }

    fn waits_no_more(&mut self, name: String, place: Place) {
        if let Some(user) = self.users.get_mut(&name) {
            user.waiting.remove(&place);
            if user.waiting.is_empty() {
                self.resting.insert((user.next, name));
            }
        }
        self.forget_users();
    }

    /// Forget users who wait for nothing: those who had no more than others, and when there are too many, those who had least.
    fn forget_users(&mut self) {
        while self.resting.first().is_some_and(|(next, _)| *next <= self.now || self.resting.len() > MANY_USERS) {
            if let Some((_, user)) = self.resting.pop_first() {
                self.users.remove(&user);
            }
        }
    }

    /// The next job.
    pub fn first(&self) -> Option<(Place, &T)> {
        self.waiting.first_key_value().map(|(place, (_, job))| (*place, job))
    }

    /// The next job of a user.
    pub fn first_of(&self, user: &str) -> Option<Place> {
        self.users.get(user)?.waiting.first().copied()
    }

    /// The job in a place.
    pub fn get(&self, place: Place) -> Option<&T> {
        self.waiting.get(&place).map(|(_, job)| job)
    }

    /// The job in a place, to change it.
    pub fn get_mut(&mut self, place: Place) -> Option<&mut T> {
        self.waiting.get_mut(&place).map(|(_, job)| job)
    }

    /// Whose job is in a place.
    pub fn user_of(&self, place: Place) -> Option<&str> {
        self.waiting.get(&place).map(|(user, _)| user.as_str())
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many jobs of a user wait.
    pub fn len_of(&self, user: &str) -> usize {
        self.users.get(user).map_or(0, |user| user.waiting.len())
    }

    /// The jobs in their order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.values().map(|(_, job)| job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(order: &mut FairOrder<String>) -> Vec<String> {
        std::iter::from_fn(|| order.pop().map(|(_, job)| job)).collect()
    }

    fn push(order: &mut FairOrder<String>, user: &str, jobs: impl IntoIterator<Item = usize>) -> Vec<Place> {
        jobs.into_iter().map(|job| order.push(user, format!("{user}{job}"))).collect()
    }

    #[test]
    fn users_take_turns_whoever_came_first() {
        let mut order = FairOrder::new();
        push(&mut order, "a", 0..3);
        push(&mut order, "b", 0..2);
        push(&mut order, "c", 0..1);
        assert_eq!(drained(&mut order), ["a0", "b0", "c0", "a1", "b1", "a2"]);
    }

    #[test]
    fn one_job_comes_second_after_a_hundred_of_another_user() {
        let mut order = FairOrder::new();
        push(&mut order, "a", 0..100);
        order.pop();
        push(&mut order, "b", 0..1);
        assert_eq!(order.pop().unwrap().1, "b0");
    }

    #[test]
    fn who_was_away_gets_no_credit_for_it() {
        let mut order = FairOrder::new();
        push(&mut order, "a", 0..10);
        for _ in 0..6 {
            order.pop();
        }
        push(&mut order, "b", 0..3);
        assert_eq!(drained(&mut order), ["b0", "a6", "b1", "a7", "b2", "a8", "a9"]);
    }

    #[test]
    fn who_takes_jobs_back_is_not_punished() {
        let mut order = FairOrder::new();
        for place in push(&mut order, "a", 0..50) {
            order.remove(place).unwrap();
        }
        push(&mut order, "b", 0..2);
        push(&mut order, "a", 50..51);
        assert_eq!(drained(&mut order), ["b0", "a50", "b1"]);
    }

    #[test]
    fn what_is_taken_before_its_turn_counts_for_its_user() {
        let mut order = FairOrder::new();
        let places = push(&mut order, "a", 0..3);
        push(&mut order, "b", 0..4);
        assert_eq!(order.take(places[2]).unwrap(), "a2");
        assert_eq!(order.place_of_next("a").tag, 3);
        push(&mut order, "a", 3..4);
        assert_eq!(drained(&mut order), ["a0", "b0", "a1", "b1", "b2", "b3", "a3"]);
        assert_eq!(order.take(places[2]), None);
    }

    #[test]
    fn who_comes_after_something_was_taken_before_its_turn_is_no_later_for_it() {
        let mut order = FairOrder::new();
        let places = push(&mut order, "a", 0..50);
        push(&mut order, "b", 0..50);
        order.take(places[40]).unwrap();
        push(&mut order, "c", 0..1);
        assert_eq!(drained(&mut order)[..4], ["a0", "b0", "c0", "a1"]);
    }

    #[test]
    fn who_had_more_is_remembered_while_others_wait() {
        let mut order = FairOrder::new();
        push(&mut order, "b", 0..2);
        push(&mut order, "a", 0..1);
        order.pop();
        order.pop();
        push(&mut order, "c", 0..1);
        push(&mut order, "a", 1..2);
        assert_eq!(drained(&mut order), ["c0", "b1", "a1"]);
    }

    #[test]
    fn a_place_survives_a_restart() {
        let mut order = FairOrder::new();
        push(&mut order, "a", 0..4);
        push(&mut order, "b", 0..2);
        order.pop();
        let mut again = FairOrder::new();
        for (place, (user, job)) in &order.waiting {
            again.insert(user, *place, job.clone());
        }
        push(&mut order, "c", 0..1);
        assert_eq!(drained(&mut order)[..2], ["b0", "c0"]);
        assert_eq!(drained(&mut again), ["b0", "a1", "b1", "a2", "a3"]);
    }

    #[test]
    fn users_who_are_done_take_no_memory() {
        let mut order = FairOrder::new();
        for user in 0..3 * MANY_USERS {
            order.push(&user.to_string(), String::new());
            order.pop();
        }
        assert!(order.users.len() <= MANY_USERS + 1, "{}", order.users.len());
        push(&mut order, "a", 0..2);
        drained(&mut order);
        assert!(order.users.len() <= 1, "{}", order.users.len());
        for place in push(&mut order, "d", 0..3) {
            order.remove(place);
        }
        assert!(order.users.len() <= 1, "{}", order.users.len());
        assert_eq!(order.users.len(), order.resting.len());
    }
}
