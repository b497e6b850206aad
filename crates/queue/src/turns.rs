//! Whose turn it is.

use crash::QueueName;

/// Decides from which queue the next crash is taken: from the most urgent that has one, but of so many that are taken
/// one is from `reprocessing`, so that it moves on however much else there is.
#[derive(Debug)]
pub(crate) struct Turns {
    every: u32,
    others_since: u32,
}

impl Turns {
    pub(crate) fn new(every: u32) -> Self {
        Self { every, others_since: 0 }
    }

    /// The queues in the order in which they are to be asked now.
    pub(crate) fn order(&self) -> [QueueName; 3] {
        use QueueName::{Priority, Reprocessing, Standard};
        if self.others_since + 1 >= self.every {
            [Reprocessing, Priority, Standard]
        } else {
            [Priority, Standard, Reprocessing]
        }
    }

    pub(crate) fn taken(&mut self, queue: QueueName) {
        self.others_since = match queue {
            QueueName::Reprocessing => 0,
            QueueName::Priority | QueueName::Standard => self.others_since.saturating_add(1),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use QueueName::{Priority, Reprocessing, Standard};

    fn take(turns: &mut Turns, waiting: &[QueueName], count: usize) -> Vec<QueueName> {
        let mut taken = Vec::new();
        for _ in 0..count {
            let queue = turns.order().into_iter().find(|queue| waiting.contains(queue)).unwrap();
            turns.taken(queue);
            taken.push(queue);
        }
        taken
    }

    #[test]
    fn one_of_so_many_is_reprocessing_while_others_wait() {
        let taken = take(&mut Turns::new(4), &QueueName::ALL, 8);
        assert_eq!(
            taken,
            [Priority, Priority, Priority, Reprocessing, Priority, Priority, Priority, Reprocessing]
        );
    }

    #[test]
    fn alone_reprocessing_has_every_turn() {
        assert_eq!(take(&mut Turns::new(10), &[Reprocessing], 3), [Reprocessing; 3]);
    }

    #[test]
    fn priority_goes_before_standard() {
        let mut turns = Turns::new(10);
        assert_eq!(take(&mut turns, &[Standard], 3), [Standard; 3]);
        assert_eq!(take(&mut turns, &[Standard, Priority], 3), [Priority; 3]);
    }
}
