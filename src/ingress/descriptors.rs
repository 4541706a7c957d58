//! File descriptors: the process's limit, and the number needed.

use rlimit::Resource;

/// Descriptors used besides connections: databases, logs, exporters, the runtime.
const OWN: u64 = 128;

/// The limit of descriptors before and after raising it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Before.
    pub before: u64,
    /// After.
    pub now: u64,
}

/// Raises the soft limit to the hard one.
pub fn raise() -> std::io::Result<Descriptors> {
    let (before, hard) = Resource::NOFILE.get()?;
    if before < hard {
        Resource::NOFILE.set(hard, hard)?;
    }
    Ok(Descriptors { before, now: hard.max(before) })
}

/// Descriptors needed for `accepted` incoming and `made` outgoing connections.
#[must_use]
pub fn needed(accepted: usize, made: usize) -> u64 {
    OWN + accepted as u64 + made as u64
}

/// A port's number of connections, reduced in proportion if `needed` descriptors are not available.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "less than the number it comes from")]
pub fn share(connections: usize, needed: u64, available: u64) -> usize {
    if available >= needed {
        return connections;
    }
    let part = available.saturating_sub(OWN) as f64 / needed.saturating_sub(OWN).max(1) as f64;
    ((connections as f64 * part) as usize).max(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_shrink_in_proportion_to_the_descriptors() {
        let needed = needed(2000, 1000);
        assert_eq!(share(512, needed, needed), 512);
        let small = share(512, needed, 1024);
        assert!((140..160).contains(&small), "{small}");
        assert_eq!(share(512, needed, 10), 4);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let first = raise().unwrap();
        let second = raise().unwrap();
        assert_eq!((second.before, second.now), (first.now, first.now));
    }
}
