//! What a key may do.

use std::fmt;
use std::str::FromStr;

/// One right. A route names the one it needs; what no scope allows is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Submit and retry jobs.
    JobsSubmit,
    /// See jobs, endpoints and counts.
    JobsRead,
    /// Cancel jobs.
    JobsCancel,
    /// Empty an endpoint's queue.
    QueuePurge,
    /// See and stop workers.
    Workers,
    /// Change endpoints' limits.
    EndpointsWrite,
    /// Change budgets.
    BudgetWrite,
    /// Make, list and revoke keys.
    Keys,
    /// Ask whether the server lives, as `overspill guard` does.
    Guard,
    /// Everything.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::JobsSubmit,
        Self::JobsRead,
        Self::JobsCancel,
        Self::QueuePurge,
        Self::Workers,
        Self::EndpointsWrite,
        Self::BudgetWrite,
        Self::Keys,
        Self::Guard,
        Self::Admin,
    ];

    /// Its word in the API and in the store.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::JobsSubmit => "jobs:submit",
            Self::JobsRead => "jobs:read",
            Self::JobsCancel => "jobs:cancel",
            Self::QueuePurge => "queue:purge",
            Self::Workers => "workers",
            Self::EndpointsWrite => "endpoints:write",
            Self::BudgetWrite => "budget:write",
            Self::Keys => "keys",
            Self::Guard => "guard",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// No scope has this word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is no scope")]
pub struct UnknownScope {
    /// What was given.
    pub word: String,
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(word: &str) -> Result<Self, UnknownScope> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.word() == word)
            .ok_or_else(|| UnknownScope { word: word.into() })
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u16);

impl Scopes {
    /// Every right.
    pub const ADMIN: Self = Self(1 << Scope::Admin as u16);

    /// Adds one.
    pub const fn insert(&mut self, scope: Scope) {
        self.0 |= 1 << scope as u16;
    }

    /// Whether it allows what needs `scope`.
    #[must_use]
    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u16 | Self::ADMIN.0) != 0
    }

    /// Whether everything `other` allows is allowed by this one, too.
    #[must_use]
    pub const fn cover(self, other: Self) -> bool {
        self.0 & Self::ADMIN.0 != 0 || other.0 & !self.0 == 0
    }

    /// The scopes in it, in a fixed order.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.0 & (1 << *scope as u16) != 0)
    }

    /// Their words.
    #[must_use]
    pub fn words(self) -> Vec<String> {
        self.iter().map(|scope| scope.word().to_owned()).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut set = Self::default();
        for scope in scopes {
            set.insert(scope);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        for scope in Scope::ALL {
            assert_eq!(scope.word().parse(), Ok(scope));
        }
        assert!("root".parse::<Scope>().is_err());
    }

    #[test]
    fn admin_covers_all_and_nothing_else_covers_admin() {
        let reader: Scopes = [Scope::JobsRead].into_iter().collect();
        assert!(Scopes::ADMIN.cover(reader));
        assert!(Scopes::ADMIN.allow(Scope::Keys));
        assert!(!reader.cover(Scopes::ADMIN));
        assert!(!reader.allow(Scope::JobsSubmit));
        assert!(reader.cover(Scopes::default()));
    }
}
