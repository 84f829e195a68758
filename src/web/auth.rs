//! HTTP basic authentication (RFC 7617) against bcrypt hashes.
//!
//! bcrypt is slow by design. It runs on the blocking pool, one verification at a time, so that many guesses
//! use one core and do not delay the scrapes of verified clients. A verified password is cached for
//! [`CACHE_LIFETIME`] after its last use; a scraper with a shorter interval is verified once.
//!
//! Timing: an unknown user name costs one bcrypt verification, like a known one, so that user names cannot be
//! enumerated. The verification uses the hash of a user that a keyed hash of the name selects, so that this
//! holds even if the costs of the hashes differ. The cache holds a keyed hash of name and password per user,
//! which is compared in constant time; the key exists only in this value.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config::web::PasswordHash;

/// The time for which a verified password is not verified again, counted from its last use.
const CACHE_LIFETIME: Duration = Duration::from_mins(5);

/// Verifies a password against a hash.
type Verify = Arc<dyn Fn(&[u8], &PasswordHash) -> bool + Send + Sync>;

/// The users, at least one, and their verified passwords.
pub(super) struct BasicAuth {
    users: BTreeMap<String, User>,
    key: hmac::Key,
    /// Held during a verification.
    verification: Arc<Semaphore>,
    verify: Verify,
}

struct User {
    hash: PasswordHash,
    verified: Mutex<Option<VerifiedPassword>>,
}

/// A correct name and password as a keyed hash.
struct VerifiedPassword {
    tag: hmac::Tag,
    last_used: Instant,
}

impl BasicAuth {
    /// Creates the verifier of `users`.
    ///
    /// # Errors
    /// Returns an error if the system provides no random numbers.
    pub(super) fn new(users: &BTreeMap<String, PasswordHash>) -> Result<Self, Unspecified> {
        let verify = |password: &[u8], hash: &PasswordHash| {
            // The format of the hash was checked when it was read, so no error is possible.
            bcrypt::verify(password, hash.as_str()).unwrap_or(false)
        };
        Self::verified_by(users, Arc::new(verify))
    }

    fn verified_by(users: &BTreeMap<String, PasswordHash>, verify: Verify) -> Result<Self, Unspecified> {
        let user = |hash: &PasswordHash| User { hash: hash.clone(), verified: Mutex::default() };
        Ok(Self {
            users: users.iter().map(|(name, hash)| (name.clone(), user(hash))).collect(),
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?,
            verification: Arc::new(Semaphore::new(1)),
            verify,
        })
    }

    /// Returns whether a request with these headers has the credentials of a user.
    pub(super) async fn authenticate(&self, headers: &HeaderMap) -> bool {
        let Some((name, password)) = credentials(headers) else { return false };
        let user = self.users.get(&name);
        let tag = self.tag(&name, &password);
        let is_cached = || user.is_some_and(|user| user.is_verified(&tag));
        if is_cached() {
            return true;
        }
        let permit = Arc::clone(&self.verification).acquire_owned().await;
        let permit = permit.expect("Safe: the semaphore is never closed");
        // Another request of the same user may have been verified meanwhile.
        if is_cached() {
            return true;
        }
        let hash = user.map_or_else(|| self.hash_in_place_of(&name), |user| &user.hash).clone();
        let verify = Arc::clone(&self.verify);
        let verification = tokio::task::spawn_blocking(move || {
            // The permit is held until the end, even if the client disconnects: the work continues.
            let _permit = permit;
            verify(&password, &hash)
        });
        // A panic counts as a wrong password.
        let is_right = verification.await.unwrap_or(false);
        match user {
            Some(user) if is_right => {
                user.remember(tag);
                true
            }
            _ => false,
        }
    }

    fn tag(&self, name: &str, password: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        // A name contains no colon, so the boundary is unambiguous.
        context.update(name.as_bytes());
        context.update(b":");
        context.update(password);
        context.sign()
    }

    /// The hash that an unknown name is verified against; always the same one for a name.
    fn hash_in_place_of(&self, name: &str) -> &PasswordHash {
        let tag = hmac::sign(&self.key, name.as_bytes());
        let number = tag.as_ref().iter().take(4).fold(0, |number, byte| number << 8 | usize::from(*byte));
        let chosen = self.users.values().nth(number % self.users.len());
        &chosen.expect("Safe: the number is below that of users").hash
    }
}

impl User {
    /// Returns whether `tag` belongs to the cached password, and extends its lifetime.
    fn is_verified(&self, tag: &hmac::Tag) -> bool {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = verified.as_mut() else { return false };
        let is_verified = last.last_used.elapsed() < CACHE_LIFETIME
            && verify_slices_are_equal(last.tag.as_ref(), tag.as_ref()).is_ok();
        if is_verified {
            last.last_used = Instant::now();
        }
        is_verified
    }

    fn remember(&self, tag: hmac::Tag) {
        let verified = VerifiedPassword { tag, last_used: Instant::now() };
        *self.verified.lock().unwrap_or_else(PoisonError::into_inner) = Some(verified);
    }
}

impl fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicAuth").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

/// Parses the user name and password of a request.
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let mut name = STANDARD.decode(encoded.trim()).ok()?;
    let colon = name.iter().position(|&byte| byte == b':')?;
    let password = name.split_off(colon + 1);
    name.truncate(colon);
    Some((String::from_utf8(name).ok()?, password))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::HeaderValue;

    use super::*;

    /// The users alice and bob, whose hashes are fakes that name their passwords, and a count of the
    /// verifications.
    fn passwords() -> (BasicAuth, Arc<AtomicUsize>) {
        let users = ["alice", "bob"].map(|name| (name.to_owned(), PasswordHash::fake(&format!("{name}'s"))));
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let verify = move |password: &[u8], hash: &PasswordHash| {
            counted.fetch_add(1, Ordering::Relaxed);
            password == hash.as_str().as_bytes()
        };
        (BasicAuth::verified_by(&BTreeMap::from(users), Arc::new(verify)).unwrap(), count)
    }

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    fn basic(user_and_password: &str) -> HeaderMap {
        headers(&format!("Basic {}", STANDARD.encode(user_and_password)))
    }

    #[tokio::test(start_paused = true)]
    async fn valid_password_is_verified_once_while_in_use() {
        let (passwords, count) = passwords();
        for _ in 0..3 {
            assert!(passwords.authenticate(&basic("alice:alice's")).await);
            tokio::time::advance(CACHE_LIFETIME.saturating_sub(Duration::from_secs(1))).await;
        }
        assert_eq!(count.load(Ordering::Relaxed), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(passwords.authenticate(&basic("alice:alice's")).await);
        assert_eq!(count.load(Ordering::Relaxed), 2);
        assert!(passwords.authenticate(&basic("bob:bob's")).await);
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn wrong_passwords_and_unknown_names_are_verified_each_time() {
        let (passwords, count) = passwords();
        assert!(passwords.authenticate(&basic("alice:alice's")).await);
        for (tried, wrong) in
            ["alice:bob's", "alice:", "carol:alice's", "carol:bob's", ":", "Alice:alice's"].iter().enumerate()
        {
            for again in 0..2 {
                assert!(!passwords.authenticate(&basic(wrong)).await, "{wrong}");
                assert_eq!(count.load(Ordering::Relaxed), 2 + 2 * tried + again, "{wrong}");
            }
        }
        assert!(
            passwords.authenticate(&basic("alice:alice's")).await,
            "a wrong password makes nobody unknown"
        );
    }

    #[tokio::test]
    async fn unknown_name_is_verified_against_a_fixed_hash() {
        let (passwords, _) = passwords();
        let names: Vec<String> = (0..100).map(|number| format!("user{number}")).collect();
        let chosen = || names.iter().map(|name| passwords.hash_in_place_of(name).as_str());
        assert!(chosen().eq(chosen()));
        let first = chosen().filter(|hash| *hash == "alice's").count();
        assert!((20..80).contains(&first), "{first} of 100");
    }

    #[tokio::test]
    async fn other_authentication_is_rejected_without_verification() {
        let (passwords, count) = passwords();
        let encoded = STANDARD.encode("alice:alice's");
        for wrong in [
            "",
            "Basic",
            "Basic ",
            "Basic *",
            &encoded,
            &format!("Bearer {encoded}"),
            &format!("Basic{encoded}"),
            &format!("Basic {}", STANDARD.encode("alice")),
            &format!("Basic {}", STANDARD.encode(b"\xff:alice's")),
        ] {
            assert!(!passwords.authenticate(&headers(wrong)).await, "{wrong}");
        }
        assert!(!passwords.authenticate(&HeaderMap::new()).await);
        assert_eq!(count.load(Ordering::Relaxed), 0);
        for right in [format!("basic {encoded}"), format!("BASIC  {encoded}")] {
            assert!(passwords.authenticate(&headers(&right)).await, "{right}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_password_is_verified_at_a_time() {
        let users = BTreeMap::from([("alice".to_owned(), PasswordHash::fake("right"))]);
        let (at_work, total) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (works, counts) = (Arc::clone(&at_work), Arc::clone(&total));
        let verify = move |_: &[u8], _: &PasswordHash| {
            assert_eq!(works.fetch_add(1, Ordering::SeqCst), 0, "two at once");
            std::thread::yield_now();
            works.fetch_sub(1, Ordering::SeqCst);
            counts.fetch_add(1, Ordering::SeqCst);
            false
        };
        let passwords = Arc::new(BasicAuth::verified_by(&users, Arc::new(verify)).unwrap());
        let mut requests = tokio::task::JoinSet::new();
        for number in 0..50 {
            let passwords = Arc::clone(&passwords);
            requests.spawn(async move { passwords.authenticate(&basic(&format!("alice:{number}"))).await });
        }
        assert_eq!(requests.join_all().await, [false; 50]);
        assert_eq!(total.load(Ordering::SeqCst), 50);
    }

    /// Made by libxcrypt.
    #[tokio::test]
    async fn hashes_of_every_variant_are_verified() {
        for variant in ["2a", "2b", "2y"] {
            let hash = format!("${variant}$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e");
            let users = BTreeMap::from([("alice".to_owned(), PasswordHash::fake(&hash))]);
            let passwords = BasicAuth::new(&users).unwrap();
            assert!(passwords.authenticate(&basic("alice:correct horse")).await, "{variant}");
            assert!(!passwords.authenticate(&basic("alice:correct horsf")).await, "{variant}");
            assert!(!passwords.authenticate(&basic("bob:correct horse")).await, "{variant}");
        }
    }
}
