"""Cases and volumes: found in folders of any layout, read onto one grid."""
