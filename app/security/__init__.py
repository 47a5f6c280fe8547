"""Who may: tokens, principals and the policy table."""
