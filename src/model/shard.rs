//! The share of the tenants that one of several exporters polls.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};

/// One of several shards, each of which has tenants of its own. Together they have every tenant. Default: the only shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1 to `shards`.
    number: u32,
    shards: u32,
}

impl Shard {
    /// The number of this shard, from 1.
    #[must_use]
    pub fn number(self) -> u32 {
        self.number
    }

    /// The number of shards.
    #[must_use]
    pub fn shards(self) -> u32 {
        self.shards
    }

    /// True if there is no other shard.
    #[must_use]
    pub fn is_only(self) -> bool {
        self.shards == 1
    }

    /// Returns whether the tenant with this id is in this shard.
    ///
    /// The shard of a tenant is the same in every release: another one would lose the first-seen times of the tenant.
    #[must_use]
    pub fn contains(self, tenant_id: &str) -> bool {
        let digest = digest(&SHA256, tenant_id.to_lowercase().as_bytes());
        let first = digest.as_ref().first_chunk().expect("Safe: the digest has 32 bytes");
        u64::from_be_bytes(*first) % u64::from(self.shards) + 1 == u64::from(self.number)
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self { number: 1, shards: 1 }
    }
}

impl FromStr for Shard {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| {
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse::<u32>().ok()).flatten()
        };
        let numbers =
            text.split_once('/').and_then(|(shard, shards)| Some((number(shard)?, number(shards)?)));
        match numbers {
            Some((number, shards)) if (1..=shards).contains(&number) => Ok(Self { number, shards }),
            _ => Err("the value must be N/M with whole numbers, N from 1 to M, such as 2/3"),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.shards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tenant ids, and their shard of 2, 3, 5, 16, 1,000 and 4,294,967,295. Computed with Python:
    /// `1 + int.from_bytes(hashlib.sha256(tenant_id.lower().encode()).digest()[:8], "big") % shards`.
    const TENANTS: [(&str, [u32; 6]); 5] = [
        ("11111111-2222-3333-4444-555555555555", [2, 2, 2, 8, 432, 281_752_277]),
        ("contoso.onmicrosoft.com", [2, 1, 1, 8, 576, 4_048_031_476]),
        ("AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE", [2, 1, 1, 14, 886, 2_582_217_751]),
        ("00000000-0000-0000-0000-000000000000", [1, 3, 4, 5, 869, 3_510_080_529]),
        ("72f988bf-86f1-41af-91ab-2d7cd011db47", [2, 3, 3, 4, 548, 2_526_261_738]),
    ];

    #[test]
    fn tenant_is_in_the_same_shard_in_every_release() {
        for (tenant_id, numbers) in TENANTS {
            for (shards, number) in [2, 3, 5, 16, 1_000, u32::MAX].into_iter().zip(numbers) {
                assert!(Shard { number, shards }.contains(tenant_id), "{tenant_id} {number}/{shards}");
                assert!(Shard { number, shards }.contains(&tenant_id.to_uppercase()), "{tenant_id}");
            }
            for shards in 1..20 {
                let having =
                    (1..=shards).filter(|number| Shard { number: *number, shards }.contains(tenant_id));
                assert_eq!(having.count(), 1, "{tenant_id} of {shards}");
            }
        }
    }

    #[test]
    fn tenants_are_spread_evenly() {
        let ids: Vec<_> =
            (0..10_000).map(|number| format!("{number:08x}-0000-4000-8000-000000000000")).collect();
        for number in 1..=7 {
            let count = ids.iter().filter(|id| Shard { number, shards: 7 }.contains(id)).count();
            assert!((1_300..1_560).contains(&count), "{number}: {count}");
        }
    }

    #[test]
    fn shard_is_a_number_from_one_to_the_number_of_shards() {
        for (text, number, shards) in [("1/1", 1, 1), ("2/3", 2, 3), ("3/3", 3, 3), ("07/0010", 7, 10)] {
            let shard: Shard = text.parse().unwrap();
            assert_eq!((shard.number(), shard.shards()), (number, shards), "{text}");
        }
        let refused = [
            "",
            "1",
            "/",
            "1/",
            "/1",
            "0/1",
            "0/0",
            "1/0",
            "2/1",
            "4/3",
            "-1/3",
            "+1/3",
            "1/+3",
            "1/3/5",
            " 1/3",
            "1 / 3",
            "1/3 ",
            "1.0/3",
            "a/b",
            "1/4294967296",
            "1\\3",
            "١/٣",
        ];
        for text in refused {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
        assert_eq!(Shard::default(), "1/1".parse().unwrap());
        assert_eq!("2/3".parse::<Shard>().unwrap().to_string(), "2/3");
    }
}
