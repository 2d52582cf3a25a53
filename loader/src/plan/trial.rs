//! A plan whose change of the interface is on trial: unless somebody confirms it in time, it is taken back.
//!
//! Before the change, a guard (another process, which outlives this one) is told what it would have to put back, with
//! fds of all that takes. Where no program was before, the guard alone holds the new one, by a `bpf_link` without a
//! pin: a guard that is killed takes the program with it. Whatever else the plan would let go of stays until the guard
//! knows the outcome.

use std::fmt::Display;

use super::build::ensure_bpffs;
use super::call::{Arm, BpfLinkCall, Call, GuardMessage, LinkCreate, SetXdp};
use super::prog_array_pins::{Attachment, own_directory};
use super::{AttachBy, On, Plan, Step, When};
use crate::error::{Error, ErrorKind, Result};
use crate::features::Feature;
use crate::netlink::Mode;
use nix::libc::{EINVAL, ENOPROTOOPT};

/// Where the `bpf_link` is pinned that holds the program of the interface `ifindex`, in the namespace with this
/// cookie, after a trial by a plan that attaches by netlink.
pub fn own_link(bpffs: &str, netns_cookie: impl Display, ifindex: impl Display) -> String {
    format!("{}/link_{netns_cookie}_{ifindex}", own_directory(bpffs))
}

impl Plan {
    /// The same plan on trial, with its bpffs at `bpffs`: for [`execute_with`](Plan::execute_with) a guard. Each of its
    /// interfaces is on trial by itself, and the guard is told of each before it is changed.
    pub fn on_trial(self, bpffs: &str) -> Result<Self> {
        if self.attach.is_empty() {
            let message = "only a plan that attaches its program can be on trial";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let trial = OnTrial { bpffs, plan: &self };
        let mut steps: Vec<Step> = Vec::new();
        for step in &self.steps {
            if is_change(&step.call) && !steps.iter().any(|other| other.at == step.at && is_arming(other)) {
                steps.extend(trial.arm(step.at, &steps));
            }
            steps.extend(trial.step(step).map(|own| own.at(step.at)));
        }
        steps.push(Step::new(GuardMessage::Made));
        Ok(Self { steps, ..self }.numbered())
    }

    /// Whether a guard takes back what it changes.
    pub(crate) fn is_on_trial(&self) -> bool {
        self.steps.iter().any(is_arming)
    }
}

fn is_arming(step: &Step) -> bool {
    matches!(step.call, Call::Guard(GuardMessage::Arm(_)))
}

fn is_change(call: &Call) -> bool {
    matches!(call, Call::SetXdp(_) | Call::BpfLink(BpfLinkCall::Create(_) | BpfLinkCall::Update { .. }))
}

/// Makes the steps of a plan on trial.
struct OnTrial<'p> {
    bpffs: &'p str,
    plan: &'p Plan,
}

impl OnTrial<'_> {
    /// Tells the guard, after all that its knowledge and a pin after the trial take; `before` are the steps until then.
    fn arm(&self, at: usize, before: &[Step]) -> Vec<Step> {
        let mut steps = Vec::new();
        if !before.iter().chain(&self.plan.steps).any(|step| matches!(step.call, Call::NetnsCookie)) {
            steps.push(Step::new(Call::NetnsCookie).or(On::Errno(&[ENOPROTOOPT]), Vec::new()));
        }
        let has_bpffs = self.plan.steps.iter().any(|step| matches!(step.call, Call::Statfs { .. }));
        if self.plan.attach[at].by == AttachBy::Netlink && !has_bpffs {
            let when = if at == 0 { When::Vacant } else { When::FirstVacant };
            steps.extend(ensure_bpffs(self.bpffs).map(|step| step.when(when)));
        }
        steps.push(self.tell(at));
        steps.into_iter().map(|step| step.at(at)).collect()
    }

    fn tell(&self, at: usize) -> Step {
        let pin = match &self.plan.attach[at].by {
            AttachBy::Link { pin } => pin.clone(),
            AttachBy::Netlink => None,
        };
        Step::new(GuardMessage::Arm(Arm { bpffs: self.bpffs.to_owned(), pin }))
    }

    /// What becomes of a step of the plan.
    fn step(&self, step: &Step) -> Option<Step> {
        match &step.call {
            // The guard lets go of these when it knows the outcome, and makes this pin.
            Call::ProgArrayPins(pins) if pins.of == Attachment::Replaced => None,
            Call::BpfLink(BpfLinkCall::Pin { .. }) => Some(Step::new(GuardMessage::HandOver).when(step.when)),
            Call::SetXdp(set) if !set.replace => Some(self.held_by_guard(step, set)),
            _ => Some(self.told_anew(step)),
        }
    }

    /// A program that is loaded once more in the middle is another one than the guard was told of.
    fn told_anew(&self, step: &Step) -> Step {
        let mut step = step.clone();
        for other in &mut step.otherwise {
            let steps = std::mem::take(&mut other.steps);
            let is_loaded = steps.iter().any(|step| matches!(step.call, Call::ProgLoad(_)));
            if is_loaded && steps.iter().any(|step| is_change(&step.call)) {
                other.steps.push(Step::new(GuardMessage::Unchanged).at(step.at));
            }
            for own in steps {
                if is_loaded && is_change(&own.call) {
                    other.steps.push(self.tell(step.at).at(step.at));
                }
                other.steps.push(self.told_anew(&own));
            }
        }
        step
    }

    /// Attaches by a link that the guard gets, or by netlink where the kernel has no such links.
    fn held_by_guard(&self, by_netlink: &Step, set: &SetXdp) -> Step {
        let elsewhere = self.plan.attach[by_netlink.at].netns.is_some();
        let create = |mode| {
            let create = LinkCreate { program: set.program, mode, elsewhere };
            let tell = Step::new(BpfLinkCall::Info).or(On::AnyErrno, Vec::new());
            Step::new(BpfLinkCall::Create(create)).then(vec![Step::new(GuardMessage::HandOver), tell])
        };
        let plain = Step { when: When::Always, ..by_netlink.clone() };
        let mut step = create(set.mode.unwrap_or(Mode::Native)).or_lacking(
            On::Errno(&[EINVAL]),
            Feature::XdpLinks,
            vec![plain],
        );
        let fallback = by_netlink.otherwise.iter().find(|other| other.on == On::Driver);
        let generic = fallback.and_then(|other| match other.steps.first().map(|step| &step.call) {
            Some(Call::SetXdp(set)) => set.mode,
            _ => None,
        });
        if let Some(mode) = generic {
            step = step.or(On::Driver, vec![create(mode)]);
        }
        step.when(by_netlink.when)
    }
}
