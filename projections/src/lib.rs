//! The read side: the projection runner, the models it fills and the queries over them
