//! Records what is decoded: which structs and enums a value consists of, how large they are, and which field is being
//! read. The decoder knows the type of each, whatever box, vector or map holds it.

use std::collections::{BTreeMap, BTreeSet};

/// A struct of the program's, or the fields of a variant, as they were read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Struct {
    pub(super) name: &'static str,
    /// A variant of the enum of this name: its size is that of the enum.
    is_variant: bool,
    /// The names that its `Deserialize` knows; empty if its fields have no names.
    pub(super) fields: &'static [&'static str],
    pub(super) size: usize,
    pub(super) align: usize,
    /// The size and the alignment of each part that was read.
    pub(super) parts: Vec<(usize, usize)>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The structs being read now; after an error, those that were being read.
    open: Vec<Struct>,
    /// The enum that was begun last.
    choice: &'static str,
    structs: BTreeSet<Struct>,
    /// The size of the largest enum of each name.
    enums: BTreeMap<&'static str, usize>,
    /// If they are wanted: the names of all structs, enums, fields and variants, and of the types of fields, in order.
    names: Option<Vec<&'static str>>,
}

impl Seen {
    /// One that also records names.
    pub(super) fn naming() -> Self {
        Seen { names: Some(Vec::new()), ..Seen::default() }
    }

    /// The names that were recorded.
    pub(super) fn names(self) -> Vec<&'static str> {
        self.names.unwrap_or_default()
    }

    fn name(&mut self, name: &'static str, parts: &[&'static str]) {
        if let Some(names) = &mut self.names {
            names.push(name);
            names.extend(parts);
        }
    }

    /// A struct begins, or the fields of a variant. These have no name.
    #[cold]
    #[inline(never)]
    pub(super) fn begin(&mut self, name: &'static str, fields: &'static [&'static str], size: usize, align: usize) {
        self.name(name, fields);
        let is_variant = name.is_empty();
        let name = if is_variant { self.choice } else { name };
        self.open.push(Struct { name, is_variant, fields, size, align, parts: Vec::new() });
    }

    /// Its next part, a value of the type `of`, is about to be read.
    #[cold]
    #[inline(never)]
    pub(super) fn part(&mut self, of: &'static str, size: usize, align: usize) {
        self.name(of, &[]);
        if let Some(open) = self.open.last_mut() {
            open.parts.push((size, align));
        }
    }

    /// The struct is complete, or something in it could not be read.
    #[cold]
    #[inline(never)]
    pub(super) fn end(&mut self, whole: bool) {
        if whole
            && let Some(ended) = self.open.pop()
            && !ended.is_variant
        {
            self.structs.insert(ended);
        }
    }

    /// A value of an enum begins.
    #[cold]
    #[inline(never)]
    pub(super) fn choice(&mut self, name: &'static str, variants: &[&'static str], size: usize) {
        self.name(name, variants);
        self.choice = name;
        let largest = self.enums.entry(name).or_default();
        *largest = size.max(*largest);
    }

    /// The structs that were read, including those that were read only in part.
    pub(super) fn structs(&self) -> impl Iterator<Item = &Struct> {
        self.structs.iter().chain(self.open.iter().filter(|open| !open.is_variant))
    }

    /// The size of the largest enum of this name.
    pub(super) fn enum_size(&self, name: &str) -> Option<usize> {
        self.enums.get(name).copied()
    }

    /// The innermost struct's field that could not be read.
    pub(super) fn place(&self) -> Option<String> {
        let inner = self.open.iter().rev().find(|open| !open.parts.is_empty())?;
        let last = inner.parts.len() - 1;
        let field = inner.fields.get(last).map_or_else(|| last.to_string(), ToString::to_string);
        Some(format!("the field `{field}` of `{}`", inner.name))
    }
}

impl Struct {
    /// The bytes of the struct that none of its parts takes, if they cannot be padding.
    pub(super) fn unread(&self) -> Option<usize> {
        let bytes: usize = self.parts.iter().map(|part| part.0).sum();
        // The layout that the compiler chooses, without padding in between; or that of a `repr(C)`, in the order of its
        // fields.
        let packed = bytes.next_multiple_of(self.align);
        let aligned = |end: usize, part: &(usize, usize)| end.next_multiple_of(part.1.min(self.align)) + part.0;
        let in_order = self.parts.iter().fold(0, aligned).next_multiple_of(self.align);
        (self.size > packed && self.size != in_order).then(|| self.size - packed)
    }
}
