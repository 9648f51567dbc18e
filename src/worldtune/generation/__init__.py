"""From a request to a video: requests, the sampler, and the manifest beside each mp4."""
