//! The demonstration's accounts: `viewer1` to `viewer200`, all with the password `popcorn`.
//!
//! Passwords are stored as HMAC-SHA-256 with a salt per account. That suffices for a demonstration, in which logins are
//! load and the password is printed in the README; a real site would use Argon2, which is slow on purpose.

use hmac::{Hmac, KeyInit, Mac};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::services::data::VIEWERS;

/// The password of every account.
pub const PASSWORD: &str = "popcorn";
const PREFIX: &str = "viewer";

struct Account {
    salt: [u8; 16],
    digest: [u8; 32],
}

/// Every account.
pub(super) struct Accounts {
    accounts: Vec<Account>,
}

impl Accounts {
    pub(super) fn seeded(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let accounts = (0..VIEWERS)
            .map(|_| {
                let salt = rng.random();
                Account { salt, digest: digest(&salt, PASSWORD) }
            })
            .collect();
        Self { accounts }
    }

    /// The id of the account with this name and password.
    ///
    /// An unknown name takes as long as a wrong password, so that response times do not reveal which names exist.
    pub(super) fn open(&self, username: &str, password: &str) -> Option<u32> {
        let id = id(username);
        let account = &self.accounts[id.map_or(0, |id| id as usize - 1)];
        let same = bool::from(digest(&account.salt, password).ct_eq(&account.digest));
        id.filter(|_| same)
    }
}

/// The name of the account with this id.
pub(super) fn username(id: u32) -> String {
    format!("{PREFIX}{id}")
}

fn id(name: &str) -> Option<u32> {
    let id = name.strip_prefix(PREFIX)?.parse().ok().filter(|id| (1..=VIEWERS).contains(id))?;
    // Other spellings, such as `viewer007` and `viewer+7`, are not accepted for `viewer7`.
    (username(id) == name).then_some(id)
}

fn digest(salt: &[u8], password: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt).expect("HMAC accepts a key of any length");
    mac.update(password.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_viewer_opens_their_own_account() {
        let accounts = Accounts::seeded(1);
        for id in 1..=VIEWERS {
            assert_eq!(accounts.open(&username(id), PASSWORD), Some(id));
        }
    }

    #[test]
    fn only_its_key_opens_one() {
        let accounts = Accounts::seeded(1);
        for name in ["", "viewer", "viewer0", "viewer201", "viewer007", "viewer+7", "Viewer7", "viewer7 ", "admin"] {
            assert_eq!(accounts.open(name, PASSWORD), None, "{name}");
        }
        for password in ["", "Popcorn", "popcorn "] {
            assert_eq!(accounts.open("viewer7", password), None, "{password}");
        }
    }

    #[test]
    fn equal_passwords_are_kept_as_different_digests() {
        let accounts = Accounts::seeded(1).accounts;
        assert_ne!(accounts[0].digest, accounts[1].digest);
    }
}
