//! The rate limits that every answer of the management API states in its headers.
//!
//! `RateLimit-Policy: "minute";q=60;w=60, "hour";q=3000;w=3600, …` and `RateLimit: "minute";r=0;t=12, …`: per
//! window a quota, its length, what remains, and the seconds to its reset. Several windows can be empty at
//! once; the caller waits for the longest.

/// Header with the windows and their quotas.
pub const POLICY_HEADER: &str = "RateLimit-Policy";
/// Header with what remains.
pub const REMAINING_HEADER: &str = "RateLimit";

/// A window: name, quota in calls, length in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Name (`minute`).
    pub name: String,
    /// Calls allowed.
    pub quota: u64,
    /// Length in seconds.
    pub window_s: u64,
}

/// What remains of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remaining {
    /// Name (`minute`).
    pub name: String,
    /// Calls left.
    pub remaining: u64,
    /// Seconds until it is full again.
    pub reset_s: u64,
}

/// RunPod's published windows.
pub const RUNPOD_WINDOWS: [(&str, u64, u64); 3] = [
    ("minute", 60, 60),
    ("hour", 3_000, 3_600),
    ("day", 50_000, 86_400),
];

/// Writes the policy header.
#[must_use]
pub fn write_policy(policies: &[Policy]) -> String {
    let parts: Vec<String> = policies
        .iter()
        .map(|p| format!("\"{}\";q={};w={}", p.name, p.quota, p.window_s))
        .collect();
    parts.join(", ")
}

/// Writes the header of what remains.
#[must_use]
pub fn write_remaining(windows: &[Remaining]) -> String {
    let parts: Vec<String> = windows
        .iter()
        .map(|w| format!("\"{}\";r={};t={}", w.name, w.remaining, w.reset_s))
        .collect();
    parts.join(", ")
}

/// Reads the header of what remains; parts that cannot be read are left out.
#[must_use]
pub fn read_remaining(text: &str) -> Vec<Remaining> {
    text.split(',')
        .filter_map(|part| {
            let mut fields = part.trim().split(';');
            let name = fields.next()?.trim().trim_matches('"').to_owned();
            let mut remaining = None;
            let mut reset_s = None;
            for field in fields {
                match field.trim().split_once('=')? {
                    ("r", value) => remaining = value.parse().ok(),
                    ("t", value) => reset_s = value.parse().ok(),
                    _ => {}
                }
            }
            Some(Remaining {
                name,
                remaining: remaining?,
                reset_s: reset_s?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_is_read_as_written() {
        let windows = vec![
            Remaining {
                name: "minute".into(),
                remaining: 0,
                reset_s: 12,
            },
            Remaining {
                name: "hour".into(),
                remaining: 2_800,
                reset_s: 1_812,
            },
        ];
        assert_eq!(read_remaining(&write_remaining(&windows)), windows);
    }

    #[test]
    fn rubbish_is_left_out() {
        assert!(read_remaining("nothing, \"minute\";r=x;t=3").is_empty());
    }
}
