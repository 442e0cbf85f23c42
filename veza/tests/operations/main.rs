//! Operations: what is said at the start and what goes wrong then or later, roles as processes of
//! their own, full disks, accounts made on the server's machine, who may look into the data folder,
//! lost keys, `veza-replay`, and the manners that all HTTP doors share.

mod accounts;
mod console;
mod disks;
mod doors;
mod faults;
mod keys;
mod outages;
mod privacy;
mod process;
mod replaying;
mod roles;
