//! Personal data that can be forgotten: fields of events are sealed with a key of the person that
//! they are about, and the keys are kept apart from the log.
//!
//! The log never changes, and neither do its copies. To forget somebody is to lose their key: what
//! was sealed with it can't be opened any more, wherever it is, and a stand-in is read in its
//! place. A key that is only missing is another thing: its fields stay sealed, and that is told.
//! The bytes are in `FORMAT.md`.
//!
//! | module | what is there |
//! | --- | --- |
//! | `store` | [`PersonalStore`]: the port over the port |
//! | `marks` | [`PersonalField`]: which fields of a type are personal |
//! | `seals`, `data`, `field` | events, their JSON, and one value: sealed and opened |
//! | `keys` | [`SubjectKeys`]: the store of keys |
//! | `aside` | keys that nothing opens any more |
//! | `unreadable` | [`UnreadableFields`]: what no key opens |
//! | `subject` | [`Subject`]: whose keys they are |
//! | `bucket`, `slot`, `store_key` | the files of that store |
//! | `durable` | which of their slots survive a power cut |
//! | `generation`, `turn` | what its processes agree by |

mod aside;
mod bucket;
mod data;
mod durable;
mod error;
mod field;
mod generation;
mod keys;
mod marks;
mod seals;
mod slot;
mod store;
mod store_key;
mod subject;
mod turn;
mod unreadable;

pub use error::PersonalError;
pub use keys::{SubjectKeys, SubjectKeysError, SubjectKeysOptions};
pub use marks::{Marks, PersonalField};
pub use store::PersonalStore;
pub use subject::{NoSubject, Subject};
pub use unreadable::{UnreadableField, UnreadableFields};
