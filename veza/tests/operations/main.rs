//! Operations: what is said at the start, roles as processes of their own, what goes wrong at the start, full disks, accounts
//! made on the server's machine, and the manners that all HTTP doors share.

mod accounts;
mod console;
mod disks;
mod doors;
mod faults;
mod privacy;
mod process;
mod roles;
