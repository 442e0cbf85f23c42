//! The licences that were fought for, and the masters that were taken down: one buyer at a time,
//! and no order of anybody who was told that they have none.

use std::collections::HashSet;

use super::log::Log;
use crate::crowd::{Crowd, Told};

/// What became of the licences.
#[derive(Debug, Default)]
pub struct Fought {
    /// How often one was kept for an order.
    pub reserved: usize,
    /// How often that came to nothing.
    pub released: usize,
    /// How many were sold.
    pub sold: usize,
}

/// Each went to one at a time and to nobody after it was sold, and whoever has an order was told
/// of it. To be asked when all that was sent was answered.
pub fn were_given_to_one_at_a_time(log: &Log, crowd: &Crowd, told: &[Told]) -> Fought {
    let orders: HashSet<&str> =
        told.iter().filter(|told| told.category == "order").map(|told| &*told.id).collect();
    for event in log.of_type("LicenceReserved") {
        let order = event.data["order_id"].as_str().unwrap();
        assert!(orders.contains(order), "order {order} is of somebody who was told of none");
    }
    let mut fought = Fought::default();
    for listing in crowd.trouble().exclusives() {
        let (mut holder, mut sold) = (None, false);
        let stream = format!("listing-{listing}");
        for event in log.0.iter().filter(|event| event.stream == stream) {
            let order = event.data["order_id"].as_str();
            match event.event_type.as_str() {
                "LicenceReserved" => {
                    assert!(holder.is_none() && !sold, "{stream} has two buyers: {event:?}");
                    holder = order;
                    fought.reserved += 1;
                }
                "LicenceReservationReleased" => {
                    assert_eq!(holder.take(), order, "{stream}: {event:?}");
                    fought.released += 1;
                }
                "LicenceSold" => {
                    assert_eq!(holder, order, "{stream}: {event:?}");
                    assert!(!sold, "{stream} was sold twice");
                    sold = true;
                    fought.sold += 1;
                }
                _ => {}
            }
        }
    }
    for track in crowd.trouble().taken_down() {
        let of_track = |event: &&super::log::Event| event.data["track_id"] == track.as_str();
        let times = log.of_type("TrackMasterTakenDown").filter(of_track).count();
        assert_eq!(times, 1, "the master of {track} was taken down {times} times");
    }
    fought
}
