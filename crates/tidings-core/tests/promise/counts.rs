//! What happened in all runs, so that a reader sees that the test is not empty.

use std::fmt;
use tidings_core::{GapReason, Kind};

macro_rules! counts {
    ($($name:ident: $text:literal,)*) => {
        /// What happened in all runs.
        #[derive(Debug, Default, Clone)]
        pub(crate) struct Counts { $(pub(crate) $name: u64,)* }

        impl Counts {
            pub(crate) fn add(&mut self, other: &Self) { $(self.$name += other.$name;)* }
        }

        impl fmt::Display for Counts {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let all = [$(($text, self.$name),)*];
                for (at, (text, n)) in all.iter().enumerate() {
                    write!(f, "{}{n} {text}", if at == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
        }
    };
}

counts! {
    seeds: "seeds",
    calm: "of them calm",
    steps: "steps",
    published: "events published",
    accepted: "accepted",
    ended: "ends told",
    resumed: "resumes",
    late_reads: "readers begun with a range read",
    trimmed: "gaps trimmed",
    epoch: "gaps epoch",
    slow: "gaps slow",
    cut: "frames cut in flight",
    cut_gaps: "gaps cut in flight",
    ahead: "waits ahead of a node",
    lost: "live messages lost",
    repeated: "repeated",
    reordered: "reordered",
    duplicates: "duplicates dropped",
    held: "held",
    resyncs: "resyncs",
    again: "range reads that were not the last",
    failed: "range reads failed",
    failovers: "failovers",
    epochs: "new epochs",
}

impl Counts {
    pub(crate) fn gap(&mut self, reason: GapReason) {
        match reason {
            GapReason::Trimmed => self.trimmed += 1,
            GapReason::Epoch => self.epoch += 1,
            _ => self.slow += 1,
        }
    }

    /// Panics if something that the runs are about hardly happened.
    pub(crate) fn assert_not_empty(&self, kind: Kind) {
        let often = |n: u64, each: f64, what: &str| {
            let least = self.seeds as f64 * each;
            assert!(n as f64 >= least, "{what}: {n} in {} seeds, too few to mean anything", self.seeds);
        };
        often(self.calm, 0.1, "calm seeds");
        often(self.published, 30.0, "events");
        often(self.accepted, 10.0, "accepted");
        often(self.cut, 1.0, "cut in flight");
        often(self.lost, 2.0, "lost");
        often(self.repeated, 2.0, "repeated");
        often(self.reordered, 2.0, "reordered");
        often(self.duplicates, 2.0, "duplicates");
        often(self.held, 2.0, "held");
        often(self.resyncs, 2.0, "resyncs");
        often(self.again, 1.0, "not the last");
        often(self.failed, 0.5, "failed reads");
        often(self.failovers, 0.3, "failovers");
        often(self.epochs, 0.2, "epochs");
        if kind == Kind::Ephemeral {
            return;
        }
        often(self.resumed, 3.0, "resumes");
        often(self.ended, 0.2, "ends");
        often(self.late_reads, 1.0, "readers begun with a range read");
        often(self.epoch, 0.5, "gaps by epoch");
        if kind == Kind::Log {
            often(self.trimmed, 0.5, "gaps by trimming");
            often(self.slow, 0.1, "gaps by slowness");
            often(self.cut_gaps, 0.02, "gaps cut in flight");
        }
    }
}
