//! Is a connection that runs still allowed? Asked for each one when a policy, the secrets or the floor change.
use super::Sandbox;
use super::live::{Entry, Subject, UnderWay};
use crate::limits::CUT_WAIT;
use crate::policy::compile::Action;
use crate::policy::decide::{Destination, Plan};
use crate::proxy::Proxy;

impl Proxy {
    /// Cuts what the rules in force no longer allow; returns how many.
    pub async fn recheck(&self, sandbox: &Sandbox) -> usize {
        let (rules, floor) = (sandbox.rules(), self.floor());
        sandbox
            .pins()
            .keep(|name| rules.policy.resolve(name).0 && floor.admits_name(name));
        sandbox.live.cut(|entry| self.keeps(sandbox, entry), CUT_WAIT).await
    }

    fn keeps(&self, sandbox: &Sandbox, entry: &Entry) -> bool {
        let (rules, floor) = (sandbox.rules(), self.floor());
        let to = |pinned| Destination {
            address: *entry.to.ip(),
            port: entry.to.port(),
            pinned,
        };
        let port = entry.to.port();
        match entry.subject() {
            // It has yet to be decided, and that decision looks at the generation.
            Subject::Pending => true,
            Subject::Raw { kind, pinned } => {
                matches!(rules.policy.raw(to(&pinned), Some(kind)), Plan::Pass(..))
                    && floor.admits((*entry.to.ip()).into(), port)
            }
            Subject::Tls { name, pinned, dialled } => {
                let plan = rules.policy.tls(&name, to(&pinned), rules.secrets.binds(&name, port));
                matches!(plan, Plan::Pass(..)) && floor.admits(dialled.into(), port) && floor.admits_name(&name)
            }
            Subject::Terminated { name } => {
                let plan = rules.policy.tls(&name, to(&[]), rules.secrets.binds(&name, port));
                plan == Plan::Terminate && floor.admits_name(&name) && self.keeps_requests(sandbox, entry)
            }
            Subject::Http => self.keeps_requests(sandbox, entry),
        }
    }

    /// One request under way that is no longer allowed ends its connection.
    fn keeps_requests(&self, sandbox: &Sandbox, entry: &Entry) -> bool {
        let rules = sandbox.rules();
        let to = Destination {
            address: *entry.to.ip(),
            port: entry.to.port(),
            pinned: &[],
        };
        entry.requests().iter().all(|request| {
            let UnderWay {
                scheme,
                name,
                method,
                path,
            } = &**request;
            let decision = rules.policy.request(*scheme, name.as_deref(), to, method, path);
            !matches!(decision.action, Action::Deny)
        })
    }
}
