//! The bulkhead of a policy, in either form.

use std::time::Duration;

use super::PolicySettings;
use crate::{
    bulkhead::{Bulkhead, BulkheadFull, BulkheadSnapshot, Place, PoolBulkhead, PoolPlace},
    settings::SettingsError,
};

/// A semaphore, a pool, or no limit.
#[derive(Debug)]
pub(super) enum Compartment {
    Semaphore(Box<Bulkhead>),
    Pool(PoolBulkhead),
    Unlimited,
}

/// A slot, returned when dropped.
pub(super) enum Entered<'a> {
    Semaphore { _place: Place<'a> },
    Pool { _place: PoolPlace },
    Unlimited,
}

impl Compartment {
    pub(super) fn new(settings: &PolicySettings) -> Result<Self, SettingsError> {
        Ok(match (&settings.bulkhead, &settings.pool_bulkhead) {
            (Some(semaphore), _) => Self::Semaphore(Box::new(Bulkhead::new(semaphore)?)),
            (None, Some(pool)) => Self::Pool(PoolBulkhead::new(pool)?),
            (None, None) => Self::Unlimited,
        })
    }

    /// Takes a slot if one is free.
    #[inline]
    pub(super) fn try_enter(&self) -> Option<Entered<'_>> {
        match self {
            Self::Semaphore(bulkhead) => bulkhead.try_enter().map(|place| Entered::Semaphore { _place: place }),
            Self::Pool(pool) => pool.try_enter().map(|place| Entered::Pool { _place: place }),
            Self::Unlimited => Some(Entered::Unlimited),
        }
    }

    /// Waits for a slot for at most this long.
    pub(super) async fn enter(&self, limit: Option<Duration>) -> Result<Entered<'_>, BulkheadFull> {
        let limit = limit.unwrap_or(Duration::MAX);
        match self {
            Self::Semaphore(bulkhead) => {
                bulkhead.enter_within(limit).await.map(|place| Entered::Semaphore { _place: place })
            }
            Self::Pool(pool) => pool.enter_within(limit).await.map(|place| Entered::Pool { _place: place }),
            Self::Unlimited => Ok(Entered::Unlimited),
        }
    }

    pub(super) fn snapshot(&self) -> Option<BulkheadSnapshot> {
        match self {
            Self::Semaphore(bulkhead) => Some(bulkhead.snapshot()),
            Self::Pool(pool) => {
                let pool = pool.snapshot();
                // Calls that their callers run are at the dependency like the others.
                Some(BulkheadSnapshot { in_flight: pool.bulkhead.in_flight + pool.caller_runs, ..pool.bulkhead })
            }
            Self::Unlimited => None,
        }
    }
}
