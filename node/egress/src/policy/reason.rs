//! Why something was refused or let through, in words that travel, and what can be done about it.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A rule said so.
    Rule,
    /// No rule matched.
    Default,
    /// The sandbox has no policy here.
    NoPolicy,
    /// The host's floor.
    Floor,
    /// The address was not given by our resolver for that name to this sandbox.
    NotPinned,
    /// Nothing names the destination: no SNI, an address, an unknown protocol.
    NoName,
    /// SNI, Host, :authority or port disagree.
    Mismatch,
    /// Malformed or ambiguous.
    Unclear,
    /// A rule or a secret needs to see the request, and there is no certificate authority.
    NoInterception,
    /// Too many or too much.
    Limit,
    /// A record type that the resolver does not answer.
    RecordType,
    /// The policy changed under it.
    PolicyChanged,
    /// The destination did not answer as it must.
    Upstream,
}

impl Reason {
    pub fn code(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Default => "default",
            Self::NoPolicy => "no_policy",
            Self::Floor => "floor",
            Self::NotPinned => "not_pinned",
            Self::NoName => "no_name",
            Self::Mismatch => "name_mismatch",
            Self::Unclear => "unclear",
            Self::NoInterception => "no_interception",
            Self::Limit => "limit",
            Self::RecordType => "record_type",
            Self::PolicyChanged => "policy_changed",
            Self::Upstream => "upstream",
        }
    }

    pub fn remedy(self) -> &'static str {
        match self {
            Self::Rule => "this sandbox's policy denies it by that rule; ask its owner to change the rule",
            Self::Default => "no rule of this sandbox's policy allows it; ask its owner to allow this host",
            Self::NoPolicy => "this sandbox has no network policy in force; ask its owner to set one",
            Self::Floor => "the host closes this address for every sandbox; only its operator can open it",
            Self::NotPinned => "resolve the name with the sandbox's own resolver and connect to the answer",
            Self::NoName => "connect by name with SNI or Host, or ask for a cidr or tcp rule for this address and port",
            Self::Mismatch => "send the same host in DNS, SNI and Host, and the port that you connect to",
            Self::Unclear => "send a well-formed request with one reading",
            Self::NoInterception => "a rule or secret for this host needs the installation's certificate authority",
            Self::Limit => "wait and send less, or ask the operator for a higher limit",
            Self::RecordType => "ask for A records",
            Self::PolicyChanged => "the policy changed; connect again to see what it says now",
            Self::Upstream => "the destination cannot be reached or does not prove its name; try again later",
        }
    }
}
