//! Every family there is, and so every type of event.

use crate::analytics::PlayEvent;
use crate::audio::TrackEvent;
use crate::command::CommandEvent;
use crate::commerce::{EscrowEvent, ListingEvent, OrderEvent, PaymentEvent};
use crate::family::{EventFamily, TypeInfo};
use crate::saga::SagaEvent;
use crate::social::{ChannelEvent, MessageEvent};
use crate::user::UserEvent;

/// The families, each by its category, with its types.
pub const FAMILIES: &[(&str, &[TypeInfo])] = &[
    of::<UserEvent>(),
    of::<TrackEvent>(),
    of::<ChannelEvent>(),
    of::<MessageEvent>(),
    of::<ListingEvent>(),
    of::<OrderEvent>(),
    of::<EscrowEvent>(),
    of::<PaymentEvent>(),
    of::<PlayEvent>(),
    of::<CommandEvent>(),
    of::<SagaEvent>(),
];

const fn of<F: EventFamily>() -> (&'static str, &'static [TypeInfo]) {
    (F::CATEGORY, F::TYPES)
}
