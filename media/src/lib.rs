//! Objects: storage, uploads, probing, transcoding to HLS
