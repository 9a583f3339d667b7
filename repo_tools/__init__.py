"""What a repository owner needs: keys, signing, publishing, waves."""
