//! Why the kernel refuses an object's types without a word: the fields that it manages itself break a rule.
//!
//! It looks at them last, and writes nothing about them into its log (`btf_parse_struct_metas()` in `kernel/bpf/btf.c`,
//! 6.2).

use nix::libc::{E2BIG, EINVAL, ELOOP, ENOENT};

use crate::btf::{Btf, Composite, Shape, TypeId};
use crate::error::quote;
use crate::uapi::btf::BtfKind;

const LOCK: &str = "bpf_spin_lock";
const RESILIENT_LOCK: &str = "bpf_res_spin_lock";
const REFCOUNT: &str = "bpf_refcount";
/// What owns structs, and the field by which each of them is in it.
const OWNERS: [(&str, &str); 2] = [("bpf_list_head", "bpf_list_node"), ("bpf_rb_root", "bpf_rb_node")];

/// The rule that these types break, of those that a kernel refuses with `errno` and without a word.
pub fn why_types_refused(btf: &Btf, errno: i32) -> Option<String> {
    if errno == ELOOP {
        return Some("structs own each other in a circle, by lists or trees".to_owned());
    }
    let flaw_of = |id, composite| Managed::of(btf, id, composite).flaw(errno);
    btf.types().find_map(|(id, ty)| match &ty.shape {
        Shape::Struct(composite) => flaw_of(id, composite),
        _ => None,
    })
}

/// The fields of a struct that the kernel may manage.
struct Managed<'b> {
    btf: &'b Btf,
    id: TypeId,
    /// The number of the member, its name, and the name of its type.
    fields: Vec<(u32, &'b str, &'b str)>,
}

impl<'b> Managed<'b> {
    fn of(btf: &'b Btf, id: TypeId, composite: &'b Composite) -> Self {
        let named = (0..).zip(&composite.members).filter_map(|(index, member)| {
            let ty = btf.resolve(member.ty).ok()?;
            let ty = match btf.get(ty).ok()?.shape {
                Shape::Array(array) => array.element,
                _ => ty,
            };
            Some((index, btf.text(member.name).ok()?, btf.name(ty).ok()?))
        });
        Self { btf, id, fields: named.filter(|(_, _, ty)| ty.starts_with("bpf_")).collect() }
    }

    fn count(&self, ty: &str) -> usize {
        self.fields.iter().filter(|(_, _, found)| *found == ty).count()
    }

    fn has(&self, ty: &str) -> bool {
        self.count(ty) > 0
    }

    /// What the kernel refuses with `errno`.
    fn flaw(&self, errno: i32) -> Option<String> {
        let flaw = match errno {
            E2BIG => {
                let double = [LOCK, RESILIENT_LOCK, REFCOUNT].into_iter().find(|ty| self.count(ty) > 1)?;
                format!("has more than one `{double}`")
            }
            EINVAL | ENOENT => {
                let mut owners = self.fields.iter().filter_map(|&(index, member, ty)| {
                    let (owner, node) = OWNERS.into_iter().find(|(owner, _)| *owner == ty)?;
                    let (broken, flaw) = self.flaw_of_owner(index, node)?;
                    (broken == errno).then(|| format!("has a `{owner}`, {}, {flaw}", quote(member)))
                });
                owners.next().or_else(|| {
                    let [(_, list), (_, tree)] = OWNERS;
                    let is_shared = self.has(list) && self.has(tree) && !self.has(REFCOUNT);
                    (errno == EINVAL && is_shared)
                        .then(|| format!("has a `{list}` and a `{tree}`, and no `{REFCOUNT}`"))
                })?
            }
            _ => return None,
        };
        Some(format!("{} {flaw}", self.btf.describe(self.id)))
    }

    /// What is wrong with member `index`, which owns structs by their fields of type `node`.
    fn flaw_of_owner(&self, index: u32, node: &str) -> Option<(i32, String)> {
        let Some((owned, link)) = self.contents(index) else {
            return Some((EINVAL, "without a tag `contains:STRUCT:MEMBER`".to_owned()));
        };
        let of = format!("of struct {}", quote(owned));
        let Some(owned) = self.btf.find(BtfKind::STRUCT, owned) else {
            return Some((ENOENT, format!("{of}, which is not there")));
        };
        let mut members = self.btf.members(owned).ok()?.iter();
        let is_called = |text: &str| text == link;
        let Some(member) = members.find(|member| self.btf.text(member.name).is_ok_and(is_called)) else {
            return Some((ENOENT, format!("{of}, which has no member {}", quote(link))));
        };
        if self.btf.name(member.ty).is_ok_and(|ty| ty != node) {
            return Some((EINVAL, format!("{of}, whose member {} is no `{node}`", quote(link))));
        }
        let is_locked = self.has(LOCK) || self.has(RESILIENT_LOCK);
        (!is_locked).then(|| (EINVAL, format!("and no `{LOCK}`")))
    }

    /// The struct and its member that the tag of member `index` names.
    fn contents(&self, index: u32) -> Option<(&'b str, &'b str)> {
        self.btf.types().find_map(|(_, ty)| match &ty.shape {
            Shape::DeclTag(tag) if tag.target == self.id && tag.component == Some(index) => {
                self.btf.text(ty.name).ok()?.strip_prefix("contains:")?.split_once(':')
            }
            _ => None,
        })
    }
}
