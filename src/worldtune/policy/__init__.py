"""Small policies: train them on demonstrations, and measure their success in a simulator."""
