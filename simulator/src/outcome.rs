//! What is counted in a run.

/// Declares the counts of a run, each with the name by which it is shown.
macro_rules! outcome {
    ($($(#[$doc:meta])* $field:ident: $name:literal,)*) => {
        /// What happened in a run: mainly, how many faults there were.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Outcome {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Outcome {
            /// All counts, with their names.
            #[must_use]
            pub fn counts(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field)),*]
            }
        }
    };
}

pub(crate) use outcome;
