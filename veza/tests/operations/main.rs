//! Operations: roles as processes of their own, what goes wrong at the start, full disks, accounts
//! made on the server's machine, and the manners that all HTTP doors share.

mod accounts;
mod disks;
mod doors;
mod faults;
mod process;
mod privacy;
mod roles;
