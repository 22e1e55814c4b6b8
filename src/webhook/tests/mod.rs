mod deliveries;
mod hostile_receivers;
mod keys;
mod policy;
mod receiver;
