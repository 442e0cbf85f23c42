//! Operations: what is said at the start and what goes wrong then, roles as processes of their own,
//! full disks, accounts made on the server's machine, who may look into the data folder, the
//! manners that all HTTP doors share, bodies that do not come as they should, unused uploads.

mod accounts;
mod bodies;
mod console;
mod disks;
mod doors;
mod faults;
mod privacy;
mod process;
mod roles;
mod uploads;
