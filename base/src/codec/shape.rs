//! What a type consists of, as its `Deserialize` shows it without a value.

use super::read;
use super::watch::Seen;
use serde::de::DeserializeOwned;
use std::any::type_name;

/// More than types need that are not recursive. Recursive ones end here.
const BYTES: usize = 256;

/// Decodes a type from made-up bytes, and returns the names of what its decoder asks for: structs with their fields and
/// these with their types, enums with their variants. Two types of one name that differ in these have another shape. What
/// decides by the value, as an enum does, is seen as far as these bytes lead.
///
/// ```
/// use serde::Deserialize;
/// use tryworks_base::codec::shape_of;
/// mod before {
///     #[derive(serde::Deserialize)]
///     pub struct Row { pub name: String, pub count: u64 }
/// }
/// #[derive(Deserialize)]
/// pub struct Row { pub name: String, pub count: i64 }
/// assert_eq!(shape_of::<Row>(), shape_of::<Row>());
/// assert_ne!(shape_of::<Row>()[1..], shape_of::<before::Row>()[1..]);
/// ```
pub fn shape_of<T: DeserializeOwned>() -> Vec<&'static str> {
    let mut names = vec![type_name::<T>()];
    // Ones are containers of one item, and optional values that are there. Zeros are the first variants of enums.
    for byte in [1, 0] {
        let mut seen = Seen::naming();
        // Most types refuse some of these bytes. What was asked for until then counts.
        drop(read::read::<T>(&[byte; BYTES], Some(&mut seen)));
        names.extend(seen.names());
    }
    names
}
