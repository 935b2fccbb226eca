//! The identity of an action, by which the hub tells a detached job from another one of its name.

use serde::{Deserialize, Serialize};

/// The identity of an action: two actions are the same if all of its parts are equal.
///
/// ```
/// use tryworks_base::{Action, Aspect};
/// let save = |dir: &str| Action { name: "save".into(), aspects: vec![Aspect::new("directory", dir)] };
/// assert_eq!(save("/a").difference(&save("/a")), None);
/// assert_eq!(save("/a").difference(&save("/b")).unwrap(), "its directory is `/a`, and `/b` is asked for");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// The method, such as `count`.
    pub name: String,
    /// What else distinguishes it from other actions with this method.
    pub aspects: Vec<Aspect>,
}

/// One thing that distinguishes an action from others with the same method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aspect {
    /// What it is, such as `number of partitions`.
    pub what: String,
    /// Its value, as texts show it.
    pub value: String,
    /// A hash of the parts that texts do not show.
    pub mark: u64,
}

impl Aspect {
    /// An aspect that is shown whole.
    pub fn new(what: &str, value: impl ToString) -> Self {
        Aspect { what: what.into(), value: value.to_string(), mark: 0 }
    }
}

impl Action {
    /// How this action, which exists, differs from the one that is asked for; `None` if it does not.
    #[must_use]
    pub fn difference(&self, asked: &Action) -> Option<String> {
        if self.name != asked.name {
            return Some(format!("it is `{}`, and `{}` is asked for", self.name, asked.name));
        }
        for there in &self.aspects {
            let Aspect { what, value, mark } = there;
            match asked.aspects.iter().find(|aspect| aspect.what == *what) {
                None => return Some(format!("its {what} is `{value}`, and none is asked for")),
                Some(other) if other.value != *value => {
                    return Some(format!("its {what} is `{value}`, and `{}` is asked for", other.value));
                }
                Some(other) if other.mark != *mark => {
                    return Some(format!("its {what} is `{value}`, with other fields or options than are asked for"));
                }
                Some(_) => {}
            }
        }
        let known = |aspect: &&Aspect| self.aspects.iter().any(|there| there.what == aspect.what);
        let more = asked.aspects.iter().find(|aspect| !known(aspect))?;
        Some(format!("it has no {}, and `{}` is asked for", more.what, more.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_the_same_if_nothing_tells_them_apart() {
        let action = |name: &str, aspects: &[(&str, &str, u64)]| Action {
            name: name.into(),
            aspects: aspects
                .iter()
                .map(|(what, value, mark)| Aspect { mark: *mark, ..Aspect::new(what, value) })
                .collect(),
        };
        let save = action("save", &[("format", "Lines", 7)]);
        assert_eq!(save.difference(&save), None);
        let other = [
            action("count", &[]),
            action("save", &[("format", "Rows", 7)]),
            action("save", &[("format", "Lines", 8)]),
            action("save", &[]),
            action("save", &[("format", "Lines", 7), ("directory", "/out", 0)]),
        ];
        let differences: Vec<_> = other.iter().map(|other| save.difference(other).unwrap()).collect();
        let expected = [
            "it is `save`, and `count` is asked for",
            "its format is `Lines`, and `Rows` is asked for",
            "its format is `Lines`, with other fields or options than are asked for",
            "its format is `Lines`, and none is asked for",
            "it has no directory, and `/out` is asked for",
        ];
        assert_eq!(differences, expected);
    }
}
